"""Clients that write: reporters, each with one node at a time, and agents that only send
heartbeats."""

from __future__ import annotations

import time

from tests.consistency.calls import Got, Lost
from tests.consistency.clients import Client, Run, new_node
from tests.consistency.operations import (
    ACKNOWLEDGED,
    DELETE,
    MAYBE,
    PLUGIN_TYPE,
    REFUSED,
    REPORT,
    Lease,
    Write,
)
from tests.consistency.violations import FAULT

LIFE = 20
"""Reports after which a node is removed: a node that changes more often would count as flapping."""

BEATS = 0.2
"""The share of heartbeats among the requests of a reporter."""

SECRET = {"X-Plugind-Node-Secret": "the secret of a node of this run"}
_CERTAIN = b"nothing was written"


class Reporter(Client):
    """Report a node with a new number each time, send a heartbeat now and then, and remove the node
    after LIFE reports."""

    def __init__(self, name: str, run: Run) -> None:
        super().__init__(name, run)
        self.is_over = run.is_written
        self._begin()

    def _begin(self) -> None:
        self.node = new_node()
        self.left = LIFE
        self.digest = ""
        self.is_certain = True  # whether each write of the node has a known outcome
        self.is_known = False  # whether a report was acknowledged

    def step(self) -> None:
        if self.left <= 0:
            self.remove()
        elif self.digest and self.random.random() < BEATS:
            self.beat()
        else:
            self.report()

    def report(self) -> None:
        """Report the node with a new number."""
        write, began = self._write(REPORT), time.time_ns()
        text = str(write.number)
        shown = {"Healthy": True, "HealthDescription": text}
        plugins = {each: {"controller": shown, "node": shown} for each in self.run_.plugins}
        body = {"Name": self.name, "Version": text, "Plugins": {PLUGIN_TYPE: plugins}}
        self.left -= 1
        got = self._ask(write, "PUT", f"/v1/node/{self.node}", body)
        if got is not None:
            value = got.json
            self.digest = value["Digest"]
            self._done(write, value["Index"])
            self.is_known = True
            self._lease(began, value["HeartbeatTTL"])
            if value["Rejected"]:
                self.history.complain(FAULT, f"{write}: rejected {value['Rejected']}")

    def remove(self) -> None:
        """Remove the node, and begin another once the removal is known to be done."""
        write = self._write(DELETE)
        got = self._ask(write, "DELETE", f"/v1/node/{self.node}")
        if got is not None:
            self._done(write, got.json["Index"])
        if write.status == ACKNOWLEDGED or write.reason.startswith("404"):
            self._begin()

    def beat(self) -> None:
        """Send a heartbeat with the digest of the last report. It may be refused only if a report
        with an unknown outcome may have been taken since, or if the node is gone."""
        began = time.time_ns()
        try:
            got = self.calls.call(
                self.server,
                "PUT",
                f"/v1/node/{self.node}/heartbeat",
                {"Digest": self.digest},
                SECRET,
            )
        except Lost:
            self.move()
            return
        if got.status == 200:
            self._lease(began, got.json["HeartbeatTTL"])
        elif got.status == 409 and self.is_certain:
            text = f"beat of {self.node} on {self.server.name}: {got.body.decode().strip()}"
            self.history.complain(FAULT, text)
        elif got.status != 409:
            self.refused(got, f"beat of {self.node}")

    def _write(self, kind: str) -> Write:
        number = self.history.number()
        write = Write(self.name, self.server.name, self.node, kind, number, time.monotonic())
        self.history.writes.append(write)
        return write

    def _ask(self, write: Write, method: str, path: str, body: object = None) -> Got | None:
        """Return the answer to a write that was done; record how any other write ended."""
        try:
            got = self.calls.call(self.server, method, path, body, SECRET)
        except Lost as error:
            write.status, write.reason = MAYBE, str(error)
            self.is_certain = False
            self.move()
            return None
        if got.status == 200:
            return got
        write.completed = time.monotonic()
        write.reason = f"{got.status} {got.body.decode(errors='replace').strip()}"
        is_certain = got.status < 500 or _CERTAIN in got.body
        write.status = REFUSED if is_certain else MAYBE
        self.is_certain = self.is_certain and is_certain
        may_be_gone = write.kind == DELETE and not (self.is_certain and self.is_known)
        if got.status != 404 or not may_be_gone:
            self.refused(got, f"{write.kind} of {self.node}")
        return None

    def _done(self, write: Write, index: int) -> None:
        write.completed = time.monotonic()
        write.index, write.status = index, ACKNOWLEDGED
        self.history.acknowledged(write)

    def _lease(self, began: int, ttl: int) -> None:
        lease = Lease(self.node, self.server.name, time.time_ns(), began + ttl, time.monotonic())
        self.history.leases.append(lease)


class Sleeper(Reporter):
    """Report once, then send heartbeats, sometimes with a pause longer than the time to live."""

    beats = 0

    def step(self) -> None:
        if not self.digest:
            self.report()
            return
        self.beats += 1
        ttl = (self.history.leases[-1].ends - self.history.leases[-1].begins) / 1e9
        silence = 2.0 * ttl if self.beats % 4 == 0 else 0.3 * ttl
        if not self.is_over.wait(silence):
            self.beat()
