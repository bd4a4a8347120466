"""The parent of the worker processes of a server: it listens, owns the configuration in force, and
keeps the workers running. It opens no store and answers no request itself."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from itertools import count as count_up
from multiprocessing.connection import Connection

from plugind import logs
from plugind.config.settings import Settings
from plugind.errors import PlugindError, StoreError
from plugind.health import Finding, Health
from plugind.metrics.readings import Reading
from plugind.metrics.snapshot import Client
from plugind.processes.keeper import DOWN_LONG, Keeper
from plugind.processes.orders import Declare, Start, TakeAcl, handed_over, pair
from plugind.serve.board import PARENT, Board
from plugind.serve.peers import Peers
from plugind.serve.reloading import acl_at_start, reloaded_acl
from plugind.types.registry import Registry

REPLY = 10.0
"""Seconds that a worker has to put policies and tokens into force; after that it is killed."""

ENDING = 13.0
"""Seconds from the order to stop after which workers are killed."""

_log = logs.get("server")


class Crew:
    """The worker processes of a server, from ``start`` until ``stop``.

    ``command`` starts a worker. Further arguments are appended to it: the worker's number, the
    descriptors of its connection, of the listening socket and of the board, and the number of
    workers. ``client`` returns the state of this process's client role.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        sock: socket.socket,
        address: str,
        command: Sequence[str],
        client: Callable[[], Client | None],
    ) -> None:
        self._started_with = settings
        self._registry = registry
        self._sock = sock
        self._command = command
        acl = acl_at_start(settings, registry)
        self._in_force = Start(handed_over(settings), acl, True, address)
        self._lock = threading.Lock()  # of the configuration in force
        self._numbers = count_up(1)
        self._refused_reload = ""
        count = settings.server.workers
        self._board = Board.make(count)
        self._keepers = [
            Keeper(
                number,
                self._spawn,
                self._orders,
                self._changed,
                self._ended,
                must_start=number == 1,
            )
            for number in range(1, count + 1)
        ]
        self._peers = Peers(self._board, PARENT, self._read, self._health, client)

    def start(self) -> None:
        """Start the workers, the first before the others because it creates or migrates the store.

        Raise PlugindError if the first cannot start.
        """
        self._peers.start()
        first, *others = self._keepers
        first.start()
        first.settled.wait()
        if first.failure:
            text = f"the first worker process ended while it started: {first.failure}"
            raise PlugindError(first.refusal or text)
        with self._lock:
            self._in_force = self._without_declaring(self._in_force)
        for each in others:
            each.start()
        for each in others:
            each.settled.wait()

    def reload(self, settings: Settings) -> None:
        """Put declarations, policies and tokens into force in all workers, including those that are
        started later.

        Raise ConfigError for mistakes in the configuration; then nothing changes. Raise StoreError
        if declarations cannot be written; even then, policies and tokens are in force, so that a
        revoked token stays revoked.
        """
        acl = reloaded_acl(self._started_with, self._registry, settings)
        needed = handed_over(settings)
        with self._lock:
            start = self._in_force
            # All other settings are read only when the server starts; restarted workers keep them.
            self._in_force = Start(start.settings, acl, start.declares, start.address)
        order = TakeAcl(acl, next(self._numbers))
        # A worker that is still loading gets the policies and tokens in force before it serves.
        asked = [(each, each.send(order)) for each in self._keepers]
        deadline = time.monotonic() + REPLY
        for each, answers in asked:
            if answers is not None:
                each.answer(answers, order.number, deadline - time.monotonic())
        # Last, because this wakes waiting queries, which are then authorized again in all workers.
        self._declare(needed)
        self._refused_reload = ""
        self._changed()

    def refuse_reload(self, reason: str) -> None:
        """Have health report a failed reload, with its reason, until one succeeds."""
        self._refused_reload = reason
        self._changed()

    def stop(self) -> None:
        """End all workers; kill those that have not ended after ENDING seconds."""
        deadline = time.monotonic() + ENDING
        for each in self._keepers:
            each.stop()
        for each in self._keepers:
            each.thread.join(max(0.0, deadline - time.monotonic()))
        self.kill()
        for each in self._keepers:
            each.thread.join(1.0)
        if self._peers.thread.ident is not None:
            self._peers.close()
        self._board.close()

    def kill(self) -> None:
        """Kill all workers at once."""
        for each in self._keepers:
            each.kill()

    def _declare(self, settings: Settings) -> None:
        """Have one worker write the declarations, or another if that one dies. Raise StoreError."""
        timeout = settings.server.write_timeout + REPLY
        for each in self._keepers:
            order = Declare(settings, next(self._numbers))
            if not each.is_up or (answers := each.send(order)) is None:
                continue
            if (answer := each.answer(answers, order.number, timeout)) is not None:
                if answer.reason:
                    raise StoreError(answer.reason)
                return
        text = "policies and tokens are in force, the declarations are not: no worker is running"
        raise StoreError(text)

    def _spawn(self, number: int) -> tuple[subprocess.Popen[bytes], Connection]:
        ours, theirs = pair()
        with theirs:
            handles = theirs.fileno(), self._sock.fileno(), self._board.handle
            arguments = [str(each) for each in (number, *handles, self._board.workers)]
            # The worker inherits the mask, so the signals do not end it before it has handlers.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
            try:
                process = subprocess.Popen(
                    [*self._command, *arguments], stdin=subprocess.DEVNULL, pass_fds=handles
                )
            except BaseException:
                ours.close()
                raise
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return process, ours

    def _orders(self) -> Start:
        with self._lock:
            return self._in_force

    @staticmethod
    def _without_declaring(start: Start) -> Start:
        return Start(start.settings, start.acl, False, start.address)

    def _ended(self, number: int) -> None:
        """Keep the counters of an ended worker, and drop the rest of its snapshot."""
        self._board.put(number, self._board.get(number).ended())

    def _changed(self) -> None:
        """Publish a change of state at once."""
        self._peers.publish()

    def _read(self) -> list[Reading]:
        return [("plugind_log_messages_total", logs.written)]

    def _health(self) -> Health:
        results = []
        down = [each for each in self._keepers if each.failure]
        if down:
            details = "; ".join(each.trouble for each in down)
            results.append(Finding("workers that are not running", details, len(down)))
        if back := [each.trouble for each in self._keepers if each.deaths and not each.failure]:
            results.append(Finding("workers that died", "; ".join(back), len(back)))
        if self._refused_reload:
            details = f"the configuration was not reloaded: {self._refused_reload}"
            results.append(Finding("failed reloads", details))
        return Health(all(each.down_for < DOWN_LONG for each in down), tuple(results))
