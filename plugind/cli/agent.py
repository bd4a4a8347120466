"""``plugind agent``: runs the server, the agent of this machine (role client), or both."""

from __future__ import annotations

import os
import queue
import signal
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import click

from plugind import __version__, logs
from plugind.agent import Agent
from plugind.app import Services, create_app
from plugind.cli.configured import configuration_options, load_settings
from plugind.client import DEFAULT_ADDRESS
from plugind.config.settings import Settings
from plugind.errors import PlugindError
from plugind.registry import Registry
from plugind.server import Server, listen

_log = logs.get("main")


@click.command()
@configuration_options
@click.option(
    "--dev",
    is_flag=True,
    help="Server and client in one, with everything in a temporary folder that goes at the end.",
)
def agent(paths: tuple[Path, ...], dev: bool, flags: Mapping[str, str]) -> None:
    """Run the server, the client (the agent that watches this machine's plugins), or both.

    SIGTERM and SIGINT end it, after what is in flight is done.
    """
    # Our own handlers before anything starts, for SIGINT may have been ignored by our parent.
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def note(number: int, frame: FrameType | None) -> None:
        signals.put(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    with ExitStack() as until_end:
        dev_folder = None
        if dev:
            folder = tempfile.TemporaryDirectory(prefix="plugind-dev-", ignore_cleanup_errors=True)
            dev_folder = Path(until_end.enter_context(folder))
        settings, registry = load_settings(paths, flags, dev_folder)
        logs.configure(settings.log_level, json=settings.log_json)
        for name, problem in registry.problems.items():
            _log.warning("a plugin type is not available", name=name, reason=problem)
        run(settings, registry, signals.get, until_end)
    _log.info("stopped")


def run(
    settings: Settings, registry: Registry, wait: Callable[[], Any], until_end: ExitStack
) -> None:
    """Starts the roles that are enabled, runs ``wait`` and stops them again, also when one of
    them cannot start. Raises PlugindError for what keeps them from starting."""
    if not (settings.server.enabled or settings.client.enabled):
        raise PlugindError(
            "neither server.enabled nor client.enabled is set: there is nothing to run; "
            "try --dev, or --config with a file like those in conf/"
        )
    if settings.data_dir is None:
        raise PlugindError("data_dir is not set: say where to keep data, or try --dev")
    checks = {}
    servers = settings.client.servers
    with ExitStack() as roles:
        sock = None
        if settings.server.enabled:
            sock = roles.enter_context(listen(settings.bind_addr, settings.ports.http))
            host, port = sock.getsockname()[:2]
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            # A client beside a server reports to it, unless other servers are named.
            if servers == (DEFAULT_ADDRESS,):
                servers = (f"http://{_reachable(address)}",)
        if settings.client.enabled:
            watcher = _agent(settings, registry, servers)
            checks["client"] = watcher.health
        if sock is not None:
            _start_server(settings, registry, settings.data_dir, sock, address, checks, roles)
        if settings.client.enabled:
            watcher.start()
            roles.callback(watcher.stop)
        wait()
        _log.info("stopping")


def _start_server(
    settings: Settings,
    registry: Registry,
    data_dir: Path,
    sock: Any,
    address: str,
    checks: Mapping[str, Callable[[], tuple[bool, str]]],
    roles: ExitStack,
) -> None:
    services = Services(settings, registry, data_dir)
    roles.callback(services.close)
    app = create_app(services, address, checks)
    server = Server(app, sock, max_parked=settings.server.max_parked)
    roles.callback(server.stop)
    roles.callback(services.wake)
    server.start()
    _log.info("serving", version=__version__, address=f"http://{address}", pid=os.getpid())


def _agent(settings: Settings, registry: Registry, servers: tuple[str, ...]) -> Agent:
    assert settings.data_dir is not None
    client = settings.client
    return Agent(
        name=settings.name,
        datacenter=client.datacenter,
        data_dir=settings.data_dir,
        servers=servers,
        token_file=client.token_file,
        ca_file=client.ca_file,
        types={name: settings.type_blocks[name] for name in registry.types},
        log_level=settings.log_level,
        log_json=settings.log_json,
    )


def _reachable(address: str) -> str:
    """An address to connect to, for one that is listened on."""
    return address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:")
