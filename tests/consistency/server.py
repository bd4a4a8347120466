"""A server on a store shared with other servers, in the test's process or as a program.

``python -m tests.consistency.server DATA_DIR PORT`` serves until it is ended, and prints a line
once it answers.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from plugind import logs
from plugind.serve.application import create_app
from plugind.serve.listening import listen
from plugind.serve.services import Services
from plugind.serve.wiring import waitress_server
from plugind.store.base import Store
from plugind.testing.serving import load

Wrap = Callable[[type[Store]], type[Store]]

LIMITS = {"server_max_streams": "50"}


@contextmanager
def shared_server(
    data_dir: Path,
    port: int = 0,
    *,
    wrap: Wrap = lambda kind: kind,
    config: str = "",
    **settings: str,
) -> Iterator[tuple[Services, int]]:
    """Serve from a data directory that other servers may also serve from; yield the server's parts
    and its port. ``config`` may name the kind of store; ``wrap`` may wrap the store."""
    with ExitStack() as until_end:
        folder = data_dir / f"server-{port}-{threading.get_native_id()}"
        folder.mkdir(exist_ok=True)
        given: Mapping[str, Any] = {"server_enabled": "true", **LIMITS, **settings}
        loaded, registry = load(folder, config, given)
        stores = {name: wrap(kind) for name, kind in registry.stores.items()}
        services = Services(loaded, replace(registry, stores=stores), data_dir, shared=True)
        until_end.callback(services.close)
        sock = until_end.enter_context(listen("127.0.0.1", port))
        found = sock.getsockname()[1]
        server = waitress_server(services, create_app(services, f"127.0.0.1:{found}"), sock)
        server.start()
        until_end.callback(server.stop)
        until_end.callback(services.wake)
        yield services, found


def main() -> None:
    logs.configure()  # on standard error; standard output has one line
    data_dir, port, *settings = sys.argv[1:]
    given = dict(each.split("=", 1) for each in settings)
    with shared_server(Path(data_dir), int(port), **given):
        print("ready", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
