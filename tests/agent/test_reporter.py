"""The reporter with small real servers that answer well, wrongly, or not at all."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from plugind.agent.backoff import Backoff
from plugind.agent.identity import Identity
from plugind.agent.report import reporter
from plugind.agent.report.reporter import Reporter
from plugind.client import ACKNOWLEDGEMENT_MAXIMUM, Tls
from plugind.client.token_file import TokenFile
from plugind.errors import TokenError
from tests.agent.fake_server import SECOND, FakeServer
from tests.ports import reserved_port
from tests.promises import SOON, eventually, promised

QUICK = Backoff(0.01, 0.05)
NODE = Identity("7f1e4c26-3ad8-4a01-9a2b-5c8f26b9d1aa", "the node's secret", -1)


class Subject:
    """A reporter of a number, and the reports of it that were acknowledged."""

    def __init__(self, *desks: FakeServer, **options: Any) -> None:
        self.number = 0
        self.acknowledged: list[Any] = []
        servers = options.pop("servers", [fake_server.address for fake_server in desks])
        usual: dict[str, Any] = {"backoff": QUICK, "timeout": 5.0}
        options = usual | {"token_file": None, "tls": Tls()} | options
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
        eventually(lambda: self.acknowledged[-1:] == [{"Number": number}])


@pytest.fixture
def port() -> Iterator[int]:
    with reserved_port() as number:
        yield number


Start = Callable[..., Subject]
Log = list[Any]


@pytest.fixture
def start() -> Iterator[Start]:
    made: list[Subject] = []

    def make(*desks: FakeServer, **options: Any) -> Subject:
        made.append(Subject(*desks, **options))
        made[-1].reporter.start()
        return made[-1]

    yield make
    for each in made:
        each.reporter.stop(5)


def test_a_report_at_start_and_at_each_change(fake_server: FakeServer, start: Start) -> None:
    subject = start(fake_server)
    eventually(lambda: subject.acknowledged)
    subject.become(1)
    eventually(lambda: len(subject.acknowledged) == 2)
    assert fake_server.reports == [{"Number": 0}, {"Number": 1}] == subject.acknowledged
    assert fake_server.headers[0]["X-Plugind-Node-Secret"] == NODE.secret
    assert "X-Nomad-Token" not in fake_server.headers[0]
    assert subject.reporter.health() == (True, "ok")


def test_a_burst_is_one_report_and_its_last_state_counts(
    fake_server: FakeServer, start: Start
) -> None:
    subject = start(fake_server)
    eventually(lambda: subject.acknowledged)
    for number in range(1, 200):
        subject.become(number)
    subject.delivers(199)
    assert len(fake_server.reports) <= 5


@pytest.mark.alone
def test_heartbeats_come_three_times_within_the_ttl(fake_server: FakeServer, start: Start) -> None:
    fake_server.ttl = int(0.3 * SECOND)
    start(fake_server)
    eventually(lambda: len(fake_server.beats) >= 6)
    assert fake_server.beats[0] == {"Digest": "d1"}
    assert len(fake_server.reports) == 1
    gaps = [
        late - soon for soon, late in zip(fake_server.times, fake_server.times[1:], strict=False)
    ]
    assert min(gaps) > 0.05
    assert sorted(gaps)[len(gaps) // 2] < 0.2


def test_409_to_a_heartbeat_brings_the_whole_report(fake_server: FakeServer, start: Start) -> None:
    fake_server.ttl = int(0.3 * SECOND)
    subject = start(fake_server)
    eventually(lambda: fake_server.beats)
    fake_server.wrong = lambda path: (409, b"unknown node") if path.endswith("heartbeat") else None
    eventually(lambda: len(fake_server.reports) >= 3)
    assert subject.reporter.health() == (True, "ok")


def test_409_to_a_report_is_no_busy_loop(fake_server: FakeServer, start: Start) -> None:
    fake_server.wrong = lambda path: (409, b"what")
    start(fake_server, backoff=Backoff(0.1, 0.2))
    eventually(lambda: fake_server.calls >= 3)
    gaps = [
        late - soon for soon, late in zip(fake_server.times, fake_server.times[1:], strict=False)
    ]
    assert min(gaps) > 0.09


@pytest.mark.parametrize("status", [500, 503, 429])
def test_failover_to_the_next_server(
    fake_server: FakeServer, second_server: FakeServer, start: Start, status: int
) -> None:
    subject = start(fake_server, second_server)
    eventually(lambda: subject.acknowledged)
    fake_server.wrong = lambda path: (status, b"busy")
    subject.become(1)
    eventually(lambda: second_server.reports == [{"Number": 1}])
    assert fake_server.reports == [{"Number": 0}]


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(
    fake_server: FakeServer, second_server: FakeServer, start: Start, log: Log, status: int
) -> None:
    subject = start(fake_server, second_server, backoff=Backoff(30, 30))
    eventually(lambda: subject.acknowledged)
    fake_server.retry_after = "1"
    fake_server.wrong = lambda path: (status, b"busy") if fake_server.calls == 2 else None
    subject.become(1)
    eventually(lambda: len(fake_server.reports) == 2)
    assert fake_server.times[-1] - fake_server.times[-2] > 0.9
    assert (second_server.calls, subject.reporter.health()) == (0, (True, "ok"))
    assert [each["event"] for each in log] == ["connected"], "one busy answer is no failure"


def test_a_server_that_stays_busy_counts_as_failing(
    fake_server: FakeServer, second_server: FakeServer, start: Start
) -> None:
    fake_server.retry_after = "1"
    fake_server.wrong = lambda path: (429, b"busy")
    subject = start(fake_server, second_server, backoff=Backoff(0.1, 0.2))
    eventually(lambda: subject.acknowledged)
    assert (fake_server.calls, len(second_server.reports)) == (2, 1)


@pytest.mark.parametrize(
    "text", ["", "0", "soon", "-1", "1.5", "9999999", "Wed, 21 Oct 2026 07:28:00 GMT"]
)
def test_a_retry_after_that_says_nothing_usable(
    fake_server: FakeServer, start: Start, text: str
) -> None:
    fake_server.retry_after = text
    fake_server.wrong = lambda path: (429, b"busy") if fake_server.calls < 3 else None
    subject = start(fake_server, backoff=Backoff(0.01, 0.02))
    eventually(lambda: subject.acknowledged)


def test_a_dead_server_is_passed_over(
    fake_server: FakeServer, second_server: FakeServer, start: Start
) -> None:
    fake_server.close()
    subject = start(fake_server, second_server)
    eventually(lambda: subject.reporter.health() == (True, "ok"))
    assert subject.acknowledged


def test_a_server_that_hangs_is_passed_over(fake_server: FakeServer, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        address = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        start(servers=[address, fake_server.address], timeout=0.2)
        eventually(lambda: fake_server.reports)


def test_a_server_that_hangs_within_its_answer_is_passed_over(
    fake_server: FakeServer, start: Start
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        address = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        start(servers=[address, fake_server.address], timeout=0.2)
        connection, _ = hanging.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{")
            eventually(lambda: fake_server.reports)


def test_the_latest_state_is_delivered_once_a_server_is_back(
    port: int, start: Start, log: Log
) -> None:
    with closing(FakeServer(port)) as fake_server:
        subject = start(fake_server)
        eventually(lambda: subject.acknowledged)
    for number in range(1, 6):
        subject.become(number)
        eventually(lambda: not subject.reporter.health()[0])
    ok, message = subject.reporter.health()
    assert not ok
    since = r"not connected to any server since 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ: "
    assert re.match(since, message), "times in sentences are to the second"
    assert fake_server.address in message
    with closing(FakeServer(port)) as back:
        eventually(lambda: subject.reporter.health()[0])
        # The report before the last one may have been on its way.
        eventually(lambda: [report["Number"] for report in back.reports] in ([5], [4, 5]))
    events = [each["event"] for each in log]
    assert events == ["connected", "no server accepts reports; trying again", "connected"]


def test_a_change_does_not_wake_it_from_backing_off(fake_server: FakeServer, start: Start) -> None:
    fake_server.wrong = lambda path: (503, b"busy")
    subject = start(fake_server, backoff=Backoff(30, 30))
    eventually(lambda: fake_server.calls)
    subject.become(1)
    subject.reporter.stop(5)
    assert fake_server.calls == 1


@pytest.mark.parametrize("status", [400, 403, 413])
def test_a_refusal_is_logged_once_and_tried_again(
    fake_server: FakeServer, start: Start, status: int, log: Log
) -> None:
    fake_server.wrong = lambda path: (status, b"Permission denied")
    subject = start(fake_server)
    eventually(lambda: fake_server.calls >= 3)
    assert [each["text"] for each in log] == ["Permission denied"]
    assert subject.reporter.health()[1].endswith(": Permission denied")
    fake_server.wrong = lambda path: None
    eventually(lambda: subject.acknowledged)


@pytest.mark.parametrize(
    ("text", "with_token", "hint"),
    [
        (b"Permission denied: it needs node write", False, "client.token_file is not set"),
        (b"Permission denied: it needs node write", True, None),
        (b"the node's secret is another", False, None),
    ],
)
def test_a_refusal_for_want_of_a_token_names_the_setting(
    fake_server: FakeServer,
    start: Start,
    tmp_path: Path,
    text: bytes,
    with_token: bool,
    hint: str,
    log: Log,
) -> None:
    token = tmp_path / "token"
    token.write_text("f81d4fae-7dec-11d0-a765-00a0c91e6bf6")
    fake_server.wrong = lambda path: (403, text)
    start(fake_server, token_file=token if with_token else None)
    eventually(lambda: log)
    assert [each.get("hint") for each in log] == [hint]


def test_refusals_are_retried_slowly() -> None:
    backoff = Backoff(0.2, 15.0)
    assert all(7.5 <= backoff.slow() <= 15 for _ in range(100))
    assert all(0.2 <= backoff.delay(1) <= 0.4 for _ in range(100))
    assert all(0.2 <= backoff.delay(10_000) <= 15 for _ in range(100))
    assert max(backoff.delay(10) for _ in range(100)) > 5


def test_a_redirection_is_not_followed(
    fake_server: FakeServer, second_server: FakeServer, start: Start
) -> None:
    """Refuse, or an agent would give its secret to a server that was never configured."""
    with closing(FakeServer()) as other:
        fake_server.elsewhere = other.address
        fake_server.wrong = lambda path: (307, b'{"Digest": "d", "HeartbeatTTL": 1}')
        subject = start(fake_server, second_server)
        eventually(lambda: subject.acknowledged)
        assert second_server.reports == [{"Number": 0}]
        assert not other.calls


@pytest.mark.parametrize("name", ["nothing.invalid", "a" * 64, "..", "xn--a", "[::"])
def test_a_name_that_is_no_hosts_is_passed_over(
    fake_server: FakeServer, start: Start, name: str, log: Log
) -> None:
    subject = start(servers=[f"http://{name}:4646", fake_server.address])
    expected = ["no server accepts reports; trying again", "connected"]
    eventually(lambda: [each["event"] for each in log] == expected)
    assert subject.acknowledged


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
    fake_server: FakeServer, second_server: FakeServer, start: Start, answer: bytes
) -> None:
    fake_server.wrong = lambda path: (200, answer)
    subject = start(fake_server, second_server)
    eventually(lambda: subject.acknowledged)
    assert second_server.reports == [{"Number": 0}]


def test_rejected_items_are_logged_once_each(
    fake_server: FakeServer, start: Start, log: Log
) -> None:
    item = {"Type": "scripted", "ID": "x", "Role": "node", "Field": "Size", "Reason": "too big"}
    fake_server.rejected = [item, "junk"]
    subject = start(fake_server)
    for number in range(1, 4):
        subject.become(number)
        subject.delivers(number)
    fake_server.rejected = [item, item | {"ID": "y"}]
    subject.become(9)
    subject.delivers(9)
    subject.reporter.stop(5)
    log = [each for each in log if "rejected" in each["event"]]
    assert [(each["id"], each["reason"]) for each in log] == [
        ("", "junk"),
        ("x", "too big"),
        ("y", "too big"),
    ]


def test_the_first_report_waits_until_all_was_looked_at(
    fake_server: FakeServer, start: Start
) -> None:
    ready = threading.Event()
    subject = start(fake_server, ready=ready.is_set)
    subject.become(1)
    subject.become(2)
    assert not fake_server.calls
    subject.number = 3  # before it is ready, because it may look at once
    ready.set()
    subject.become(3)
    eventually(lambda: subject.acknowledged)
    assert fake_server.reports == [{"Number": 3}]


def test_the_token_is_read_again_when_it_changed(
    fake_server: FakeServer, start: Start, tmp_path: Path, log: Log
) -> None:
    file = tmp_path / "token"
    subject = start(fake_server, token_file=file)
    eventually(lambda: "token_file" in subject.reporter.health()[1])
    file.write_text("first-secret\n")
    eventually(lambda: subject.acknowledged)
    assert fake_server.headers[-1]["X-Nomad-Token"] == "first-secret"
    part = tmp_path / "part"
    part.write_text("other-secret")
    os.replace(part, file)
    subject.become(1)
    eventually(lambda: len(subject.acknowledged) == 2)
    assert fake_server.headers[-1]["X-Nomad-Token"] == "other-secret"
    assert "-secret" not in str(log)


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"two\nlines", b"\xff", b"\x00x"])
def test_the_file_of_a_bad_token_is_named_but_not_the_token(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(TokenError, match="holds no token") as caught:
        TokenFile(file).read()
    assert "two" not in str(caught.value)


def test_a_missing_file_of_certificates_is_logged(start: Start, tmp_path: Path) -> None:
    subject = start(tls=Tls(tmp_path / "missing.pem"), servers=["https://127.0.0.1:1"])
    reason = "missing.pem cannot be read: No such file"
    eventually(lambda: reason in subject.reporter.health()[1])


def test_an_unexpected_error_is_a_failure_and_not_the_end(
    fake_server: FakeServer, start: Start, log: Log
) -> None:
    subject = start(fake_server)
    eventually(lambda: subject.acknowledged)
    subject.number = object()  # type: ignore[assignment]  # which no JSON can hold
    subject.reporter.changed()
    eventually(lambda: "not JSON serializable" in subject.reporter.health()[1])
    assert "reporting failed" in str(log)
    subject.become(5)
    subject.delivers(5)


def test_a_bad_address_is_passed_over(fake_server: FakeServer, start: Start) -> None:
    subject = start(servers=["nonsense", fake_server.address])
    eventually(lambda: subject.acknowledged)


def test_stop_is_quick_whatever_it_waits_for(fake_server: FakeServer, start: Start) -> None:
    idle = start(fake_server)
    eventually(lambda: idle.acknowledged)
    waiting = start(fake_server, ready=lambda: False)
    with promised(SOON):
        for subject in (idle, waiting):
            subject.reporter.stop(10 * SOON)
            subject.reporter.stop(10 * SOON)
    Subject(fake_server).reporter.stop(5)


def test_a_node_leaves_by_whichever_server_answers(
    fake_server: FakeServer, second_server: FakeServer, start: Start, log: Log
) -> None:
    subject = start(fake_server, second_server)
    eventually(lambda: subject.acknowledged)
    fake_server.close()
    subject.reporter.release(leave=True)
    subject.reporter.stop(10)
    assert second_server.left == [NODE.node_id]
    assert [each["event"] for each in log[-2:]] == [
        "the node could not leave",
        "the node has left",
    ]


def test_a_node_that_was_never_known_has_left(
    fake_server: FakeServer, start: Start, log: Log
) -> None:
    fake_server.wrong = lambda path: (404, b"node not found")
    start(fake_server, ready=lambda: False).reporter.release(leave=True)
    eventually(lambda: [each["event"] for each in log] == ["the node has left"])


def test_a_server_that_hangs_does_not_hold_a_node_that_leaves(start: Start, log: Log) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        subject = start(servers=[f"http://127.0.0.1:{hanging.getsockname()[1]}"], timeout=10 * SOON)
        connection, _ = hanging.accept()
        with connection, promised(SOON):
            subject.reporter.release(leave=True)
            subject.reporter.stop(0.3)
    assert "no answer from" in log[-1]["reason"]


def test_news_without_end_do_not_hold_up_the_first_report(
    fake_server: FakeServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter, "SETTLE_MAXIMUM", 0.3)
    began = time.monotonic()
    subject = start(fake_server, ready=lambda: False)

    def has_reported() -> bool:
        subject.reporter.changed()
        return bool(fake_server.reports)

    eventually(has_reported, every=0.001)
    assert time.monotonic() - began >= 0.3
