"""The work of a worker process: it serves on the parent's socket until it is to stop."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection

from plugind import logs
from plugind.errors import PlugindError
from plugind.health.threads import OwnedThread
from plugind.processes.orders import Answer, Declare, Done, Failed, Ready, Start, TakeAcl
from plugind.serve.board import Board
from plugind.serve.endpoint_parts import Checks, Stats
from plugind.serve.front import front
from plugind.serve.parts import Worker
from plugind.serve.peers import condition_of_client
from plugind.serve.services import Services
from plugind.types.registry import load_registry

_log = logs.get("server")


class Parent:
    """The worker's end of its connection to the parent process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def has_more(self) -> bool:
        """Return whether an order has come already, or the parent has ended."""
        try:
            return self._connection.poll()
        except OSError:
            return True

    def receive(self) -> object:
        """Return the next order; None when the parent has ended."""
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            return None

    def answer(self, answer: Answer) -> None:
        """Send an answer, unless the parent has ended."""
        try:
            with self._sending:
                self._connection.send(answer)
        except OSError:
            _log.debug("the parent process has ended before it got an answer")


def serve(
    number: int,
    parent: Parent,
    start: Start,
    sock: socket.socket,
    board: Board,
    wait: Callable[[], object],
) -> int:
    """Serve as the worker of that number until ``wait`` returns; return the exit status."""
    settings = start.settings
    assert settings.data_dir is not None
    try:
        with ExitStack() as until_end:
            choice = settings.plugin_types
            registry = load_registry().choose(choice.enabled, choice.disabled)
            registry = registry.without(settings.type_problems)
            place = Worker(board, number, start.acl, start.declares)
            services = Services(settings, registry, settings.data_dir, worker=place)
            until_end.callback(services.close)
            checks, stats = _client_of(services)
            kind = settings.server.http
            server = front(kind, services, sock, start.address, checks, stats)
            until_end.callback(server.stop)
            until_end.callback(services.wake)
            while parent.has_more() and _carry_out(parent, services):
                pass  # what came while it started holds from the first request on
            server.start()
            _log.debug("a worker serves", pid=os.getpid())
            orders = OwnedThread("orders", lambda: _obey(parent, services), restarts=True)
            services.conditions.threads.append(lambda: [orders])
            orders.start()
            parent.answer(Ready())
            wait()
    except PlugindError as error:
        parent.answer(Failed(str(error)))
        return 1
    return 0


def _client_of(services: Services) -> tuple[Checks, Stats]:
    """Return the checks and stats of the client role, which runs in the parent process."""
    peers = services.peers
    if peers is None or not services.settings.client.enabled:
        return {}, {}

    def stats() -> dict[str, str]:
        client = peers.client()
        return client.stats if client else {}

    return {"client": lambda: condition_of_client(peers)}, {"client": stats}


def _obey(parent: Parent, services: Services) -> None:
    """Carry out orders until the worker is to stop, or the parent has ended."""
    while _carry_out(parent, services):
        pass


def _carry_out(parent: Parent, services: Services) -> bool:
    """Carry out the next order; return False when the worker is to stop."""
    order = parent.receive()
    if isinstance(order, TakeAcl):
        services.acl = order.acl
        parent.answer(Done(order.number))
    elif isinstance(order, Declare):
        parent.answer(_declared(services, order))
    else:
        if order is None:
            _log.warning("the parent process has ended, so this worker ends as well")
        os.kill(os.getpid(), signal.SIGTERM)
        return False
    return True


def _declared(services: Services, order: Declare) -> Done:
    try:
        services.declare(order.settings)
    except PlugindError as error:
        return Done(order.number, str(error))
    return Done(order.number)
