"""The reporter against small real servers that answer well, wrongly, or not at all."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from plugind.agent import reporter
from plugind.agent.backoff import Backoff
from plugind.agent.identity import Identity
from plugind.agent.reporter import Reporter
from plugind.agent.token_file import TokenFile
from plugind.client import ACKNOWLEDGEMENT_MAXIMUM
from plugind.errors import TokenError
from tests.agent.desk import SECOND, Desk, until

QUICK = Backoff(0.01, 0.05)
NODE = Identity("7f1e4c26-3ad8-4a01-9a2b-5c8f26b9d1aa", "the node's secret", -1)


class Subject:
    """A reporter of a number, and what of it was acknowledged."""

    def __init__(self, *desks: Desk, **options: Any) -> None:
        self.number = 0
        self.acknowledged: list[Any] = []
        servers = options.pop("servers", [desk.address for desk in desks])
        usual: dict[str, Any] = {"backoff": QUICK, "timeout": 5.0}
        options = usual | {"token_file": None, "ca_file": None} | options
        self.reporter = Reporter(
            NODE,
            servers,
            build=lambda: {"Number": self.number},
            acknowledged=self.acknowledged.append,
            **options,
        )

    def become(self, number: int) -> None:
        self.number = number
        self.reporter.changed()

    def delivers(self, number: int) -> None:
        until(lambda: self.acknowledged[-1:] == [{"Number": number}])


Start = Callable[..., Subject]
Log = list[Any]


@pytest.fixture
def start() -> Iterator[Start]:
    made: list[Subject] = []

    def make(*desks: Desk, **options: Any) -> Subject:
        made.append(Subject(*desks, **options))
        made[-1].reporter.start()
        return made[-1]

    yield make
    for each in made:
        each.reporter.stop(5)


def test_a_report_at_start_and_at_each_change(desk: Desk, start: Start) -> None:
    subject = start(desk)
    until(lambda: subject.acknowledged)
    subject.become(1)
    until(lambda: len(subject.acknowledged) == 2)
    assert desk.reports == [{"Number": 0}, {"Number": 1}] == subject.acknowledged
    assert desk.headers[0]["X-Plugind-Node-Secret"] == NODE.secret
    assert "X-Nomad-Token" not in desk.headers[0]
    assert subject.reporter.health() == (True, "ok")


def test_a_burst_is_one_report_and_its_last_state_counts(desk: Desk, start: Start) -> None:
    subject = start(desk)
    until(lambda: subject.acknowledged)
    for number in range(1, 200):
        subject.become(number)
    subject.delivers(199)
    assert len(desk.reports) <= 5


def test_heartbeats_come_three_times_within_the_ttl(desk: Desk, start: Start) -> None:
    desk.ttl = int(0.3 * SECOND)
    start(desk)
    until(lambda: len(desk.beats) >= 6)
    assert desk.beats[0] == {"Digest": "d1"}
    assert len(desk.reports) == 1
    gaps = [late - soon for soon, late in zip(desk.times, desk.times[1:], strict=False)]
    assert min(gaps) > 0.05
    assert sorted(gaps)[len(gaps) // 2] < 0.2


def test_409_to_a_heartbeat_brings_the_whole_report(desk: Desk, start: Start) -> None:
    desk.ttl = int(0.3 * SECOND)
    subject = start(desk)
    until(lambda: desk.beats)
    desk.wrong = lambda path: (409, b"unknown node") if path.endswith("heartbeat") else None
    until(lambda: len(desk.reports) >= 3)
    assert subject.reporter.health() == (True, "ok")


def test_409_to_a_report_is_no_busy_loop(desk: Desk, start: Start) -> None:
    desk.wrong = lambda path: (409, b"what")
    start(desk, backoff=Backoff(0.1, 0.2))
    until(lambda: desk.calls >= 3)
    gaps = [late - soon for soon, late in zip(desk.times, desk.times[1:], strict=False)]
    assert min(gaps) > 0.09


@pytest.mark.parametrize("status", [500, 503, 429])
def test_failover_to_the_next_server(
    desk: Desk, second_desk: Desk, start: Start, status: int
) -> None:
    subject = start(desk, second_desk)
    until(lambda: subject.acknowledged)
    desk.wrong = lambda path: (status, b"busy")
    subject.become(1)
    until(lambda: second_desk.reports == [{"Number": 1}])
    assert desk.reports == [{"Number": 0}]


def test_a_dead_server_is_passed_over(desk: Desk, second_desk: Desk, start: Start) -> None:
    desk.close()
    subject = start(desk, second_desk)
    until(lambda: subject.reporter.health() == (True, "ok"))
    assert subject.acknowledged


def test_a_server_that_hangs_is_passed_over(desk: Desk, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        start(servers=[address, desk.address], timeout=0.2)
        until(lambda: desk.reports)


def test_a_server_that_falls_silent_in_its_answer_is_passed_over(desk: Desk, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        start(servers=[address, desk.address], timeout=0.2)
        connection, _ = silent.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{")
            until(lambda: desk.reports)


def test_the_latest_state_is_delivered_once_a_server_is_back(
    desk: Desk, start: Start, log: Log
) -> None:
    subject = start(desk)
    until(lambda: subject.acknowledged)
    desk.close()
    for number in range(1, 6):
        subject.become(number)
        until(lambda: not subject.reporter.health()[0])
    ok, message = subject.reporter.health()
    assert not ok
    assert message.startswith("not connected to any server since 20")
    assert desk.address in message
    back = Desk(desk.port)
    try:
        until(lambda: subject.reporter.health()[0])
        assert [report["Number"] for report in back.reports] == [5]
    finally:
        back.close()
    events = [each["event"] for each in log]
    assert events == ["connected", "no server takes reports; trying on", "connected"]


def test_a_change_does_not_wake_it_from_backing_off(desk: Desk, start: Start) -> None:
    desk.wrong = lambda path: (503, b"busy")
    subject = start(desk, backoff=Backoff(30, 30))
    until(lambda: desk.calls)
    subject.become(1)
    subject.reporter.stop(5)
    assert desk.calls == 1


@pytest.mark.parametrize("status", [400, 403, 413])
def test_a_refusal_is_told_once_and_tried_again(
    desk: Desk, start: Start, status: int, log: Log
) -> None:
    desk.wrong = lambda path: (status, b"Permission denied")
    subject = start(desk)
    until(lambda: desk.calls >= 3)
    assert [each["text"] for each in log] == ["Permission denied"]
    assert subject.reporter.health()[1].endswith(": Permission denied")
    desk.wrong = lambda path: None
    until(lambda: subject.acknowledged)


def test_refusals_are_retried_slowly() -> None:
    backoff = Backoff(0.2, 15.0)
    assert all(7.5 <= backoff.slow() <= 15 for _ in range(100))
    assert all(0.2 <= backoff.delay(1) <= 0.4 for _ in range(100))
    assert all(0.2 <= backoff.delay(10_000) <= 15 for _ in range(100))
    assert max(backoff.delay(10) for _ in range(100)) > 5


def test_a_redirection_is_not_followed(desk: Desk, second_desk: Desk, start: Start) -> None:
    """Who is redirected gives its secret to somebody who was never configured."""
    with closing(Desk()) as stranger:
        desk.elsewhere = stranger.address
        desk.wrong = lambda path: (307, b'{"Digest": "d", "HeartbeatTTL": 1}')
        subject = start(desk, second_desk)
        until(lambda: subject.acknowledged)
        assert second_desk.reports == [{"Number": 0}]
        assert not stranger.calls


@pytest.mark.parametrize("name", ["nothing.invalid", "a" * 64, "..", "xn--a", "[::"])
def test_a_name_that_is_no_hosts_is_passed_over(
    desk: Desk, start: Start, name: str, log: Log
) -> None:
    subject = start(servers=[f"http://{name}:4646", desk.address])
    until(lambda: subject.acknowledged)
    events = [each["event"] for each in log]
    assert events == ["no server takes reports; trying on", "connected"]


@pytest.mark.parametrize(
    "answer",
    [
        b'{"Digest": "d", "HeartbeatTTL": 1}' + b" " * ACKNOWLEDGEMENT_MAXIMUM,
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b"{}",
        b'"x"',
        b"<html>",
        b'{"Digest": "", "HeartbeatTTL": 1}',
        b'{"Digest": 1, "HeartbeatTTL": 1}',
        b'{"Digest": "d", "HeartbeatTTL": 0}',
    ],
    ids=lambda answer: answer[:40].hex() if answer[:1] > b"~" else answer[:40].decode(),
)
def test_a_wrong_answer_is_a_failure(
    desk: Desk, second_desk: Desk, start: Start, answer: bytes
) -> None:
    desk.wrong = lambda path: (200, answer)
    subject = start(desk, second_desk)
    until(lambda: subject.acknowledged)
    assert second_desk.reports == [{"Number": 0}]


def test_rejected_items_are_told_once_each(desk: Desk, start: Start, log: Log) -> None:
    item = {"Type": "paper", "ID": "x", "Role": "node", "Field": "Size", "Reason": "too big"}
    desk.rejected = [item, "junk"]
    subject = start(desk)
    for number in range(1, 4):
        subject.become(number)
        subject.delivers(number)
    desk.rejected = [item, item | {"ID": "y"}]
    subject.become(9)
    subject.delivers(9)
    subject.reporter.stop(5)
    log = [each for each in log if "rejected" in each["event"]]
    assert [(each["id"], each["reason"]) for each in log] == [
        ("", "junk"),
        ("x", "too big"),
        ("y", "too big"),
    ]


def test_the_first_report_waits_until_all_was_looked_at(desk: Desk, start: Start) -> None:
    ready = threading.Event()
    subject = start(desk, ready=ready.is_set)
    subject.become(1)
    subject.become(2)
    assert not desk.calls
    ready.set()
    subject.become(3)
    until(lambda: subject.acknowledged)
    assert desk.reports == [{"Number": 3}]


def test_the_token_is_read_again_when_it_changed(
    desk: Desk, start: Start, tmp_path: Path, log: Log
) -> None:
    file = tmp_path / "token"
    subject = start(desk, token_file=file)
    until(lambda: "token_file" in subject.reporter.health()[1])
    file.write_text("first-secret\n")
    until(lambda: subject.acknowledged)
    assert desk.headers[-1]["X-Nomad-Token"] == "first-secret"
    part = tmp_path / "part"
    part.write_text("other-secret")
    os.replace(part, file)
    subject.become(1)
    until(lambda: len(subject.acknowledged) == 2)
    assert desk.headers[-1]["X-Nomad-Token"] == "other-secret"
    assert "-secret" not in str(log)


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"two\nlines", b"\xff", b"\x00x"])
def test_a_bad_token_is_named_but_not_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(TokenError, match="holds no token") as caught:
        TokenFile(file).read()
    assert "two" not in str(caught.value)


def test_a_missing_file_of_certificates_is_told_of(start: Start, tmp_path: Path) -> None:
    subject = start(ca_file=tmp_path / "missing.pem", servers=["https://127.0.0.1:1"])
    until(lambda: subject.reporter.health()[1].find("missing.pem is not there") > 0)


def test_what_nobody_foresaw_is_a_failure_and_not_the_end(
    desk: Desk, start: Start, log: Log
) -> None:
    subject = start(desk)
    until(lambda: subject.acknowledged)
    subject.number = object()  # type: ignore[assignment]  # which no JSON can hold
    subject.reporter.changed()
    until(lambda: "not JSON serializable" in subject.reporter.health()[1])
    assert "reporting failed" in str(log)
    subject.become(5)
    subject.delivers(5)


def test_a_bad_address_is_passed_over(desk: Desk, start: Start) -> None:
    subject = start(servers=["nonsense", desk.address])
    until(lambda: subject.acknowledged)


def test_stop_is_quick_whatever_it_waits_for(desk: Desk, start: Start) -> None:
    idle = start(desk)
    until(lambda: idle.acknowledged)
    waiting = start(desk, ready=lambda: False)
    started = time.monotonic()
    for subject in (idle, waiting):
        subject.reporter.stop(5)
        subject.reporter.stop(5)
    assert time.monotonic() - started < 2
    Subject(desk).reporter.stop(5)


def test_a_node_leaves_by_whichever_server_answers(
    desk: Desk, second_desk: Desk, start: Start, log: Log
) -> None:
    subject = start(desk, second_desk)
    until(lambda: subject.acknowledged)
    desk.close()
    subject.reporter.release(leave=True)
    subject.reporter.stop(10)
    assert second_desk.left == [NODE.node_id]
    assert [each["event"] for each in log[-2:]] == [
        "the node could not leave",
        "the node has left",
    ]


def test_a_node_that_was_never_known_has_left(desk: Desk, start: Start, log: Log) -> None:
    desk.wrong = lambda path: (404, b"node not found")
    start(desk, ready=lambda: False).reporter.release(leave=True)
    until(lambda: [each["event"] for each in log] == ["the node has left"])


def test_a_server_that_hangs_does_not_hold_a_node_that_leaves(start: Start, log: Log) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        subject = start(servers=[f"http://127.0.0.1:{silent.getsockname()[1]}"], timeout=30.0)
        connection, _ = silent.accept()
        with connection:
            started = time.monotonic()
            subject.reporter.release(leave=True)
            subject.reporter.stop(0.3)
        assert time.monotonic() - started < 2
    assert "no answer from" in log[-1]["reason"]


def test_news_without_end_do_not_hold_up_the_first_report(
    desk: Desk, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter, "SETTLE_MAXIMUM", 0.3)
    subject = start(desk, ready=lambda: False)
    began = time.monotonic()
    while not desk.reports:
        assert time.monotonic() - began < 5
        subject.reporter.changed()
        time.sleep(0.001)
    assert time.monotonic() - began >= 0.3
