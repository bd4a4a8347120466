"""Delivers a node's state to a server: the whole report when something changed, else a heartbeat.

Only the latest state is ever sent. What changes while no server answers is not queued: it is in the
report that goes out once one does.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from plugind import logs
from plugind.agent.backoff import Backoff
from plugind.agent.identity import Identity
from plugind.agent.report.connection import Connection, Line, is_refusal, retry_after
from plugind.client import Tls
from plugind.client.token_file import TokenFile
from plugind.errors import PlugindError, Refused, Unreachable
from plugind.health.threads import OwnedThread
from plugind.model.times import SECOND

DEBOUNCE = 0.05
"""Seconds between two reports, in which a burst of changes becomes one; the first goes at once."""

SETTLE_MAXIMUM = 5.0
"""Seconds that the first report waits for every target to be probed once. Sent earlier, it would
lack instances that the server knows, which would call them missing after every restart."""

LEAVE_TIMEOUT = 3.0
"""Seconds that each server is given to answer a node that leaves."""

IDLE_MAXIMUM = 2.0
"""Seconds that a connection stays open without a request. A server bounds how many are open."""

BACKOFF = Backoff(0.2, 5.0)

RETRY_AFTER_MAXIMUM = 30
"""Seconds that a busy server can have an agent wait."""

_BEATS_PER_TTL = 3
_BEAT_MINIMUM = 0.05
_TTL_ASSUMED = 30 * SECOND
_TTL_MAXIMUM = 24 * 3600 * SECOND

_log = logs.get("agent")


class Reporter:
    """Reports for ``identity`` to the first of ``servers`` (addresses) that answers.

    ``build`` returns the current report; ``ready`` returns whether every target has been probed
    once; ``acknowledged`` is handed every report that a server accepted. ``probes`` returns
    the number of probes so far, which each report and heartbeat has.
    """

    def __init__(
        self,
        identity: Identity,
        servers: Sequence[str],
        token_file: Path | None,
        tls: Tls,
        *,
        build: Callable[[], Mapping[str, Any]],
        ready: Callable[[], bool] = lambda: True,
        acknowledged: Callable[[Mapping[str, Any]], None] = lambda report: None,
        probes: Callable[[], Mapping[str, Any]] = dict,
        backoff: Backoff = BACKOFF,
        timeout: float = 10.0,
    ) -> None:
        self._identity = identity
        self._build = build
        self._ready = ready
        self._acknowledged = acknowledged
        self._probes = probes
        self._backoff = backoff
        self._line = Line(servers, TokenFile(token_file), tls, timeout)
        self._connection = Connection()
        self._failures = 0
        self._digest = ""
        self._run_id = ""
        self._ttl = _TTL_ASSUMED
        self._rejected: frozenset[tuple[str, ...]] = frozenset()
        self._dirty = threading.Event()
        self._stopping = threading.Event()
        self._leaving = False
        self.thread = OwnedThread("report", self._run, restarts=True)

    def changed(self) -> None:
        """Note that the next report would differ from the last; safe for threads."""
        self._dirty.set()

    def start(self) -> None:
        self.thread.start()

    def release(self, *, leave: bool = False) -> None:
        """Send no more reports, without waiting for the one being sent.

        With ``leave`` report to a server after it that the node leaves.
        """
        self._leaving = self._leaving or leave
        self._stopping.set()
        self._dirty.set()

    def stop(self, timeout: float) -> None:
        """Send no more reports; wait for the one being sent, ``timeout`` seconds at most."""
        self.release()
        self.thread.join(timeout)
        if self._leaving and self.thread.is_alive():
            _log.warning("the node could not leave", reason=f"no answer from {self._line.address}")

    @property
    def server(self) -> str:
        """Return the address of the server that the next report goes to."""
        return self._line.address

    def health(self) -> tuple[bool, str]:
        """Return whether the server accepted what was last sent, and the reason if not."""
        return self._connection.health()

    def _run(self) -> None:
        self._dirty.set()  # it may have died with a report in hand
        self._settle(time.monotonic() + SETTLE_MAXIMUM)
        while not self._stopping.is_set():
            try:
                self._send()
            except PlugindError as error:
                self._stopping.wait(self._failed(error))
            except Exception as error:  # of any kind: nothing else would start this thread again
                _log.error("reporting failed", exc_info=True)
                self._stopping.wait(self._failed(error))
            else:
                self._failures = 0
                self._connection.works(self._line.address)
                self._stopping.wait(DEBOUNCE)
                self._await_change()
        if self._leaving:
            self._leave()
        self._line.close()

    def _leave(self) -> None:
        """Report the departure to the first server that answers; ask each once, because the caller
        waits."""
        self._line.hurry(LEAVE_TIMEOUT)
        for _ in range(self._line.length):
            if self._has_left():
                _log.info("the node has left", server=self._line.address)
                return
            self._line.turn()

    def _has_left(self) -> bool:
        try:
            self._line.client().forget_node(self._identity.node_id, self._identity.secret)
        except PlugindError as error:
            if isinstance(error, Refused) and error.status == 404:
                return True  # it never came, or was forgotten
            _log.warning("the node could not leave", reason=str(error))
            return False
        return True

    def _settle(self, until: float) -> None:
        while not self._ready() and not self._stopping.is_set():
            left = until - time.monotonic()  # changes that never end must not delay it either
            if left <= 0 or not self._dirty.wait(left):
                return
            self._dirty.clear()

    def _await_change(self) -> None:
        """Wait until something changed or a heartbeat is due; close a connection that idles."""
        beat = self._ttl / SECOND / _BEATS_PER_TTL
        seconds = max(_BEAT_MINIMUM, random.uniform(0.8, 1.0) * beat - DEBOUNCE)
        if self._dirty.wait(min(seconds, IDLE_MAXIMUM)) or seconds <= IDLE_MAXIMUM:
            return
        self._line.rest()
        self._dirty.wait(seconds - IDLE_MAXIMUM)

    def _send(self) -> None:
        if self._digest and not self._dirty.is_set():
            node, client = self._identity, self._line.client()
            try:
                self._took(
                    client.heartbeat(
                        node.node_id, node.secret, self._digest, self._run_id, self._probes()
                    )
                )
            except Refused as error:
                if error.status != 409:
                    raise
                self._digest = ""
                self._report()
        else:
            self._report()

    def _report(self) -> None:
        self._dirty.clear()
        report = self._build()
        try:
            node = self._identity
            probes = self._probes()
            sent = {**report, **({"Probes": probes} if probes else {})}
            answer = self._line.client().report(node.node_id, node.secret, sent)
            self._took(answer)
        except BaseException:
            self._dirty.set()
            raise
        self._run_id = str(report.get("RunID", ""))
        self._acknowledged(report)
        self._log_rejected(answer.get("Rejected"))

    def _took(self, answer: Mapping[str, Any]) -> None:
        match answer:
            case {"Digest": str(digest), "HeartbeatTTL": int(ttl)} if digest and ttl > 0:
                self._digest = digest
                self._ttl = min(ttl, _TTL_MAXIMUM)
            case _:
                raise Unreachable(
                    f"{self._line.address} did not answer as a plugind does; "
                    "is that the right address?"
                )

    def _failed(self, error: Exception) -> float:
        """Log a failure and turn to the next server; return how many seconds to wait.

        A server that is busy says when to ask it again. It works, so only the second such answer in
        a row counts as a failure.
        """
        self._failures += 1
        busy = retry_after(error)
        backoff = self._backoff
        if busy is not None:
            shortest = min(busy, RETRY_AFTER_MAXIMUM)
            backoff = Backoff(shortest, max(shortest, backoff.longest))
            if self._failures == 1:
                return backoff.delay(1)
        self._connection.fails(error, has_token_file=self._line.has_token_file)
        self._line.turn()
        if is_refusal(error):
            return self._backoff.slow()
        return backoff.delay(self._failures)

    def _log_rejected(self, items: Any) -> None:
        """Log the instances that a server rejected, once for as long as it does so."""
        rejected = frozenset(map(_rejection, items if isinstance(items, list) else ()))
        for type, id, role, field, reason in sorted(rejected - self._rejected):
            _log.warning(
                "the server rejected an instance",
                type=type,
                id=id,
                role=role,
                field=field,
                reason=reason,
            )
        self._rejected = rejected


def _rejection(item: Any) -> tuple[str, ...]:
    names = ("Type", "ID", "Role", "Field", "Reason")
    found = item if isinstance(item, dict) else {"Reason": item}
    return tuple(str(found.get(name, ""))[:300] for name in names)
