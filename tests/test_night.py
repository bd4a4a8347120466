"""One night with real processes: the history records what was done, and when."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from plugind.client import Client
from plugind.model.times import SECOND, parse_time
from tests.events.following import Follower
from tests.processes import counts, machine
from tests.support import eventually

WELL, ILL = (0, 0, 1, 1), (0, 0, 0, 1)
TTL = 4


class Night:
    """What happened, in order: the expected events, and the times between which each was seen."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.done: list[tuple[str, int, int]] = []

    @contextmanager
    def happens(self, *events: str) -> Iterator[None]:
        """Record that the block causes these events and waits for the last of them."""
        began = time.time_ns()
        yield
        ended = time.time_ns()
        self.done += [(event, began, ended) for event in events]

    def becomes(self, what: tuple[int, ...]) -> None:
        eventually(lambda: counts(self.client, "ebs0") == what)

    def version(self, text: str) -> None:
        eventually(lambda: self.client.plugin("csi", "ebs0").value["Version"] == text)


def test_the_history_of_a_night(tmp_path: Path) -> None:
    with machine(tmp_path) as made:
        port, ttl = made.port(), f"{TTL}s"
        server, client = made.server(port=port, server_heartbeat_ttl=ttl)
        with closing(Follower(client.address)) as follower:
            night = Night(client)
            with night.happens("appeared"):
                driver = made.driver("vm/ebs0.sock", "--no-controller", "--version", "1")
                agent = made.agent("vm", client.address)
                night.becomes(WELL)
            with night.happens("unhealthy"):
                driver.kill()
                night.becomes(ILL)
            with night.happens("healthy"):
                driver = made.driver("vm/ebs0.sock", "--no-controller", "--version", "1")
                night.becomes(WELL)
            with night.happens("unhealthy"):
                assert driver.stop() == 0
                night.becomes(ILL)
            with night.happens("healthy", "version"):
                driver = made.driver("vm/ebs0.sock", "--no-controller", "--version", "2")
                night.becomes(WELL)
                night.version("2")
            server.kill()
            server, client = made.server(port=port, server_heartbeat_ttl=ttl)
            night.client = client
            night.becomes(WELL)
            with night.happens("unhealthy"):
                agent.send_all(signal.SIGSTOP)
                night.becomes(ILL)
            with night.happens("healthy"):
                agent.send_all(signal.SIGCONT)
                night.becomes(WELL)
            rows = list(reversed(client.plugin_history("csi", "ebs0").value))
            eventually(lambda: len(follower.rows) >= len(rows))
        assert follower.rows == rows, "live, and after the server was killed"
        assert follower.connections > 1
        events = [row for row in rows if row["Event"] != "reason"]
        check(events, night)
        node = [row for row in client.node_history(events[0]["NodeID"]).value if not row["Type"]]
        assert [row["Event"] for row in reversed(node)] == ["down", "up"]


def check(rows: list[dict[str, Any]], night: Night) -> None:
    assert [row["Event"] for row in rows] == [event for event, _, _ in night.done]
    for row, (event, began, ended) in zip(rows, night.done, strict=True):
        assert began <= parse_time(row["Time"]) <= ended, row
        assert parse_time(row["Since"]) <= parse_time(row["Time"]), row
        if event == "unhealthy":
            assert row["Reason"], row
        if event == "version":
            assert (row["Before"], row["After"]) == ("1", "2")
    lost = [row for row in rows if row["Event"] == "unhealthy"][-1]
    assert lost["Reason"].startswith("nothing heard of node vm")
    heard, noticed = parse_time(lost["Since"]), parse_time(lost["Time"])
    assert noticed - heard >= TTL * SECOND, "it is unhealthy since it was heard last"
