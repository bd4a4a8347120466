"""A real server and a real agent for the tests of plugin types, on free ports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from plugind.agent import Agent
from plugind.client import Client, Tls
from plugind.config.settings import Settings
from plugind.health import Health
from plugind.serve.front import WAITRESS, front
from plugind.serve.listening import listen
from plugind.serve.services import Services
from plugind.types.configured import agent_blocks, load_settings
from plugind.types.registry import Registry

T = TypeVar("T")


@dataclass(frozen=True)
class LiveServer:
    """A server that answers at ``address``, and its ``client``."""

    services: Services
    address: str
    client: Client


@contextmanager
def live_server(
    config: str = "",
    *,
    data_dir: Path | None = None,
    checks: Mapping[str, Callable[[], Health]] | None = None,
    http: str = WAITRESS,
    shared: bool = False,
    **settings: str,
) -> Iterator[LiveServer]:
    """Run a server with the installed plugin types while the block lasts.

    ``config`` is the text of a configuration file, ``settings`` are further settings by name
    (``server_heartbeat_ttl="2s"``), ``checks`` are health checks of other parts of the process.
    ``http`` is the kind of its HTTP server; ``shared`` makes it one of several processes on the
    same data. Its data is in ``data_dir``, or in a folder that is removed at the end.
    """
    with ExitStack() as until_end:
        folder = data_dir or Path(until_end.enter_context(TemporaryDirectory(prefix="plugind-")))
        loaded, registry = load(folder, config, {"server_enabled": "true", **settings})
        services = Services(loaded, registry, folder, shared=shared)
        until_end.callback(services.close)
        sock = until_end.enter_context(listen("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        server = front(http, services, sock, address, checks)
        server.start()
        until_end.callback(server.stop)
        until_end.callback(services.wake)
        client = until_end.enter_context(Client(f"http://{address}"))
        yield LiveServer(services, f"http://{address}", client)


@contextmanager
def run_agent(server: str, config: str = "", *, types: str, **settings: str) -> Iterator[Agent]:
    """Run an agent that reports to the server at that address, while the block lasts.

    It probes for the plugin types that ``types`` names, separated by commas, each in a process of
    its own, as any agent does; ``config`` and ``settings`` are as for ``live_server``.
    """
    with TemporaryDirectory(prefix="plugind-") as folder:
        given = {"client_enabled": "true", "plugin_types_enabled": types, **settings}
        loaded, _ = load(Path(folder), config, given)
        agent = Agent(
            name=loaded.name,
            datacenter=loaded.client.datacenter,
            data_dir=Path(folder),
            servers=(server,),
            token_file=loaded.client.token_file,
            tls=Tls(loaded.client.ca_file, loaded.client.cert_file, loaded.client.key_file),
            meta=loaded.client.meta,
            node_class=loaded.client.node_class,
            advertise=loaded.client.advertise,
            types=agent_blocks(loaded),
            log_level=loaded.log_level,
            log_json=loaded.log_json,
        )
        agent.start()
        try:
            yield agent
        finally:
            agent.stop()


def load(folder: Path, config: str, settings: Mapping[str, str]) -> tuple[Settings, Registry]:
    """Return the settings and the registry for a configuration file with the text ``config``, with
    data in ``folder``. Raise ConfigError when it is invalid."""
    file = folder / "config.hcl"
    file.write_text(config)
    return load_settings([file], {"data_dir": str(folder), **settings}, None)


def eventually(look: Callable[[], T], within: float = 60.0, every: float = 0.02) -> T:
    """Return the first true value of ``look``; fail with its last value after ``within``
    seconds."""
    deadline = time.monotonic() + within
    while not (value := look()):
        assert time.monotonic() < deadline, f"not within {within} s; the last look gave {value!r}"
        time.sleep(every)
    return value
