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
from plugind.agent.token_file import TokenFile
from plugind.client import Client
from plugind.errors import PlugindError, Refused, Unreachable
from plugind.fields import SECOND, format_time

DEBOUNCE = 0.05
"""Seconds between two reports, in which a burst of changes becomes one; the first goes at once."""

SETTLE_MAXIMUM = 5.0
"""Seconds that the first report waits for every target to be probed once. Sent earlier, it would
lack instances that the server knows, which would call them missing after every restart."""

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
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)

    def changed(self) -> None:
        """The next report would differ from the last; from any thread."""
        self._dirty.set()

    def start(self) -> None:
        self._thread.start()

    def release(self) -> None:
        """Sends nothing more, without waiting for what is being sent."""
        self._stopping.set()
        self._dirty.set()

    def stop(self, timeout: float) -> None:
        """Sends nothing more; waits for what is being sent, ``timeout`` seconds at most."""
        self.release()
        if self._thread.ident is not None:
            self._thread.join(timeout)

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
        self._line.close()

    def _settle(self, until: float) -> None:
        while not self._ready() and not self._stopping.is_set():
            if not self._dirty.wait(max(0.0, until - time.monotonic())):
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
        if _is_refusal(error):
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


class Line:
    """The servers there are, and the one that is spoken to; with the token of now."""

    def __init__(
        self, servers: Sequence[str], token: TokenFile, ca_file: Path | None, timeout: float
    ) -> None:
        self._servers = tuple(servers)
        self._token_file = token
        self._ca_file = ca_file
        self._timeout = timeout
        self._turn = 0
        self._token = ""
        self._client: Client | None = None

    @property
    def address(self) -> str:
        return self._servers[self._turn % len(self._servers)]

    def client(self) -> Client:
        """A client of the server whose turn it is. Raises TokenError, or Unreachable for what is
        no address."""
        token = self._token_file.read()
        if self._client is None or token != self._token:
            self.close()
            ca_file = str(self._ca_file) if self._ca_file else None
            self._client = Client(self.address, token=token, ca_file=ca_file, timeout=self._timeout)
            self._token = token
        return self._client

    def turn(self) -> None:
        """The next server is spoken to from here on, over a new connection."""
        self.close()
        self._turn += 1

    def close(self) -> None:
        if self._client:
            self._client.close()
        self._client = None


class Connection:
    """Whether a server takes what is sent, since when not, and why; logs when that changes."""

    def __init__(self) -> None:
        self._since = time.time_ns()
        self._reason = "starting"
        self._lost = False  # and told of
        self._refusals: set[str] = set()

    def health(self) -> tuple[bool, str]:
        """True and "ok", or False and a line that says since when and why."""
        reason = self._reason
        if not reason:
            return True, "ok"
        return False, f"not connected to any server since {format_time(self._since)}: {reason}"

    def works(self, address: str) -> None:
        if self._reason:
            _log.info("connected", server=address)
        self._reason = ""
        self._lost = False
        self._refusals.clear()

    def fails(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if not self._reason:
            self._since = time.time_ns()
        self._reason = text
        if _is_refusal(error):
            if text not in self._refusals:
                self._refusals.add(text)
                _log.error("the server refuses", text=text)
        elif not self._lost:
            self._lost = True
            _log.warning("no server takes reports; trying on", reason=text)


def _is_refusal(error: Exception) -> bool:
    """Whether only a person can mend it: a 4xx other than 409 and 429."""
    return (
        isinstance(error, Refused) and 400 <= error.status < 500 and error.status not in (409, 429)
    )


def _rejection(item: Any) -> tuple[str, ...]:
    names = ("Type", "ID", "Role", "Field", "Reason")
    found = item if isinstance(item, dict) else {"Reason": item}
    return tuple(str(found.get(name, ""))[:300] for name in names)
