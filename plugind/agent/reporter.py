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
from plugind.agent.connection import Connection, Line, is_refusal
from plugind.agent.identity import Identity
from plugind.agent.token_file import TokenFile
from plugind.errors import PlugindError, Refused, Unreachable
from plugind.fields import SECOND

DEBOUNCE = 0.05
"""Seconds between two reports, in which a burst of changes becomes one; the first goes at once."""

SETTLE_MAXIMUM = 5.0
"""Seconds that the first report waits for every target to be probed once. Sent earlier, it would
lack instances that the server knows, which would call them missing after every restart."""

LEAVE_TIMEOUT = 3.0
"""Seconds that each server is given to answer a node that leaves."""

BACKOFF = Backoff(0.2, 5.0)

_BEATS_PER_TTL = 3
_BEAT_MINIMUM = 0.05
_TTL_ASSUMED = 30 * SECOND
_TTL_MAXIMUM = 24 * 3600 * SECOND

_log = logs.get("agent")


class Reporter:
    """Reports for ``identity`` to the first of ``servers`` (addresses) that answers.

    ``build`` makes the report of now; ``ready`` tells whether all there is has been looked at once;
    ``acknowledged`` is handed every report that a server took.
    """

    def __init__(
        self,
        identity: Identity,
        servers: Sequence[str],
        token_file: Path | None,
        ca_file: Path | None,
        *,
        build: Callable[[], Mapping[str, Any]],
        ready: Callable[[], bool] = lambda: True,
        acknowledged: Callable[[Mapping[str, Any]], None] = lambda report: None,
        backoff: Backoff = BACKOFF,
        timeout: float = 10.0,
    ) -> None:
        self._identity = identity
        self._build = build
        self._ready = ready
        self._acknowledged = acknowledged
        self._backoff = backoff
        self._line = Line(servers, TokenFile(token_file), ca_file, timeout)
        self._connection = Connection()
        self._failures = 0
        self._digest = ""
        self._run_id = ""
        self._ttl = _TTL_ASSUMED
        self._rejected: frozenset[tuple[str, ...]] = frozenset()
        self._dirty = threading.Event()
        self._stopping = threading.Event()
        self._leaving = False
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)

    def changed(self) -> None:
        """The next report would differ from the last; from any thread."""
        self._dirty.set()

    def start(self) -> None:
        self._thread.start()

    def release(self, *, leave: bool = False) -> None:
        """Sends no more reports, without waiting for what is being sent; with ``leave`` tells a
        server after it that the node leaves."""
        self._leaving = self._leaving or leave
        self._stopping.set()
        self._dirty.set()

    def stop(self, timeout: float) -> None:
        """Sends no more reports; waits for what is being sent, ``timeout`` seconds at most."""
        self.release()
        if self._thread.ident is None:
            return
        self._thread.join(timeout)
        if self._leaving and self._thread.is_alive():
            _log.warning("the node could not leave", reason=f"no answer from {self._line.address}")

    def health(self) -> tuple[bool, str]:
        """Whether the server took what was last sent, and why not."""
        return self._connection.health()

    def _run(self) -> None:
        self._settle(time.monotonic() + SETTLE_MAXIMUM)
        while not self._stopping.is_set():
            try:
                self._send()
            except PlugindError as error:
                self._stopping.wait(self._failed(error))
            except Exception as error:  # whatever it is: nobody else would start this thread again
                _log.error("reporting failed", exc_info=True)
                self._stopping.wait(self._failed(error))
            else:
                self._failures = 0
                self._connection.works(self._line.address)
                self._stopping.wait(DEBOUNCE)
                self._dirty.wait(self._until_beat())
        if self._leaving:
            self._leave()
        self._line.close()

    def _leave(self) -> None:
        """Tells the first server that answers; each is asked once, for somebody waits."""
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
            left = until - time.monotonic()  # news that never end must not hold it up either
            if left <= 0 or not self._dirty.wait(left):
                return
            self._dirty.clear()

    def _until_beat(self) -> float:
        beat = self._ttl / SECOND / _BEATS_PER_TTL
        return max(_BEAT_MINIMUM, random.uniform(0.8, 1.0) * beat - DEBOUNCE)

    def _send(self) -> None:
        if self._digest and not self._dirty.is_set():
            try:
                self._beat()
            except Refused as error:
                if error.status != 409:
                    raise
                self._digest = ""
                self._report()
        else:
            self._report()

    def _beat(self) -> None:
        node = self._identity
        client = self._line.client()
        self._took(client.heartbeat(node.node_id, node.secret, self._digest, self._run_id))

    def _report(self) -> None:
        self._dirty.clear()
        report = self._build()
        try:
            node = self._identity
            answer = self._line.client().report(node.node_id, node.secret, report)
            self._took(answer)
        except BaseException:
            self._dirty.set()
            raise
        self._run_id = str(report.get("RunID", ""))
        self._acknowledged(report)
        self._tell_rejected(answer.get("Rejected"))

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
        """Tells of a failure and turns to the next server; returns how long to wait."""
        self._failures += 1
        self._connection.fails(error)
        self._line.turn()
        if is_refusal(error):
            return self._backoff.slow()
        return self._backoff.delay(self._failures)

    def _tell_rejected(self, items: Any) -> None:
        """Logs what a server rejected, once for as long as it does so."""
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
