"""The work of a worker process: it serves on the parent's socket until it has to stop."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import NamedTuple

from plugind import logs
from plugind.errors import PlugindError
from plugind.health.threads import OwnedThread
from plugind.processes.orders import (
    Answer,
    Declare,
    Done,
    Failed,
    Loaded,
    Ready,
    Start,
    TakeAcl,
)
from plugind.serve.allocator import collect_seldom, lasting
from plugind.serve.board import Board
from plugind.serve.endpoint_parts import Checks, Stats
from plugind.serve.front import front
from plugind.serve.parts import Worker
from plugind.serve.peers import condition_of_client
from plugind.serve.services import Services
from plugind.types.registry import load_registry

LOOK_EVERY = 1.0
"""Seconds between two checks whether all threads are alive."""

PATIENCE = 60.0
"""Seconds that a worker waits for policies and tokens once it has loaded."""

_log = logs.get("server")


class Parent:
    """The worker's end of its connection to the parent process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def has_more(self, within: float) -> bool:
        """Return whether an order came, or the parent ended, within ``within`` seconds."""
        try:
            return self._connection.poll(within)
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


class End(NamedTuple):
    """The end of the process: ``wait`` returns once ``begin`` has been called."""

    wait: Callable[[], object]
    begin: Callable[[], object]


class Obeying:
    """Carries out orders in a thread. Ends the process when its parent orders that or has ended, or
    when a thread has died that only a new process can replace."""

    def __init__(self, parent: Parent, services: Services, end: End) -> None:
        self.may_go_on = threading.Event()
        """Set once policies and tokens are in force, or the process has to end."""
        self.is_over = False
        self.is_broken = False
        self._parent = parent
        self._services = services
        self._end = end
        self.thread = OwnedThread("orders", self._run, restarts=True)

    def _run(self) -> None:
        while not self.is_over:
            if self._parent.has_more(LOOK_EVERY):
                self._carry_out(self._parent.receive())
            if not self.is_broken:  # else the process is ending already; until then it obeys orders
                self._look()

    def _carry_out(self, order: object) -> None:
        if isinstance(order, TakeAcl):
            self._services.acl = order.acl
            self._parent.answer(Done(order.number))
        elif isinstance(order, Declare):
            self._parent.answer(_declared(self._services, order))
            return
        else:
            if order is None:
                _log.warning("the parent process has ended, so this worker ends as well")
            self.is_over = True
            self._end.begin()
        self.may_go_on.set()

    def _look(self) -> None:
        """End the process if it no longer works; its parent starts another."""
        if dead := self._services.conditions.dead_threads:
            reason = "; ".join(each.trouble for each in dead)
            _log.error("this worker ends, for it can do its work no more", reason=reason)
            self.is_broken = True
            self._end.begin()


def serve(
    number: int, parent: Parent, start: Start, sock: socket.socket, board: Board, end: End
) -> int:
    """Serve as the worker with that number until ``end`` begins; return the exit status."""
    settings = start.settings
    assert settings.data_dir is not None
    try:
        with ExitStack() as until_end:
            choice = settings.plugin_types
            registry = load_registry().choose(choice.enabled, choice.disabled)
            registry = registry.without(settings.type_problems)
            place = Worker(board, number, start.acl, start.declares)
            with lasting():
                services = Services(settings, registry, settings.data_dir, worker=place)
            until_end.callback(services.close)
            checks, stats = _client_of(services)
            kind = settings.server.http
            collect_seldom()
            server = front(kind, services, sock, start.address, checks, stats)
            until_end.callback(server.stop)
            until_end.callback(services.wake)
            orders = Obeying(parent, services, end)
            services.conditions.threads.append(lambda: [orders.thread])
            orders.thread.start()
            parent.answer(Loaded())
            # No request may be answered with tokens that were revoked while this worker loaded.
            if not orders.may_go_on.wait(PATIENCE):
                raise PlugindError("the parent process gave the worker no tokens to serve with")
            if not orders.is_over:
                server.start()
                _log.debug("a worker serves", pid=os.getpid())
                parent.answer(Ready())
            end.wait()
    except PlugindError as error:
        parent.answer(Failed(str(error)))
        return 1
    return int(orders.is_broken)


def _client_of(services: Services) -> tuple[Checks, Stats]:
    """Return the checks and stats of the client role, which runs in the parent process."""
    peers = services.peers
    if peers is None or not services.settings.client.enabled:
        return {}, {}

    def stats() -> dict[str, str]:
        client = peers.client()
        return client.stats if client else {}

    return {"client": lambda: condition_of_client(peers)}, {"client": stats}


def _declared(services: Services, order: Declare) -> Done:
    try:
        services.declare(order.settings)
    except PlugindError as error:
        return Done(order.number, str(error))
    return Done(order.number)
