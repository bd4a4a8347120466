"""Event streams when something goes wrong: slow clients, dead threads, a store that fails."""

from __future__ import annotations

import json
import queue
import random
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nomad
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from plugind.api.turns import SELECTED, Turns
from plugind.errors import StoreError
from plugind.events import broker
from plugind.events.making import PAGE
from plugind.health import threads
from plugind.model import HistoryQuery, StoredTransition
from plugind.store.base import Retention
from tests.api.conftest import FEW_THREADS
from tests.api.test_turns import turns as turns
from tests.events.client import stream
from tests.events.test_stream import report, transitions
from tests.promises import PATIENCE
from tests.support import FakeAgent, Live, down, eventually, serving, up
from tests.test_thread_faults import kill


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Live]:
    config = "events { max_backlog = 16384 }"
    limits = {"server_send_timeout": "1h", **FEW_THREADS}
    with serving(tmp_path, live=True, config=config, **limits) as served:
        assert isinstance(served, Live)
        yield served


def connected(api: Live) -> socket.socket:
    host, port = api.address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), PATIENCE)


def test_a_slow_client_is_cut_off_and_delays_nobody(api: Live) -> None:
    agent = FakeAgent(api)
    with connected(api) as slow, stream(api) as quick:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        slow.sendall(b"GET /v1/event/stream HTTP/1.0\r\n\r\n")
        assert quick.raw() == b"{}\n"
        eventually(lambda: api.services.events.streams == 2)

        def flips() -> bool:
            for is_up in (True, False):
                fingerprint = up() if is_up else down("x" * 200)
                plugins = {f"p{number}": {"node": fingerprint} for number in range(100)}
                index = agent.report(plugins).json["Index"]
                assert quick.line()["Index"] == index
            return any(each.ended for each in api.services.events.consumers)

        for _ in range(200):
            if flips():
                break
        else:
            raise AssertionError("the slow client was never cut off")
        text = b""
        while more := slow.recv(2**20):
            text = (text + more)[-200:]
    last = text.splitlines()[-1]
    assert last == (
        b'{"Error":"the events were not read fast enough: read on from the last index"}'
    )


def test_a_dead_thread_ends_streams_that_can_go_on(
    api: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "RESTART_AFTER", 0.001)
    agent = FakeAgent(api)
    first = report(agent, up())
    with capture_logs(), stream(api, "?index=1") as found:
        assert found.line()["Index"] == first
        eventually(lambda: api.services.events.consumers)
        kill(api.services.events.thread)
        second = report(agent, down())
        line = found.line()
        if "Error" not in line:  # the thread may have sent it before it noticed
            assert line["Index"] == second
            report(agent, up())
            line = found.line()
        assert line["Error"].endswith("read on from the last index")
        assert found.raw() == b""
    eventually(lambda: "the thread events died once" in api.services.condition().message)
    with stream(api, f"?index={first + 1}") as found:
        assert found.line()["Index"] == second
        last = report(agent, down("again"))
        assert found.until(last)


def test_events_wait_for_a_store_that_cannot_be_read(
    api: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "RETRY", 0.01)
    agent = FakeAgent(api)
    maker, failures = api.services.events.maker, []
    select = maker.select

    def fails(query: HistoryQuery) -> Sequence[StoredTransition]:
        if len(failures) < 3:
            failures.append(query)
            raise StoreError("the disk is gone")
        return select(query)

    with capture_logs() as logged, stream(api, "?topic=Plugin&index=1") as found:
        assert found.raw() == b"{}\n"
        came = found.until(report(agent, up()))  # by now it has read what was there before
        monkeypatch.setattr(maker, "select", fails)
        for number in range(5):
            last = report(agent, up() if number % 2 else down(str(number)))
        came += found.until(last)
        assert [each["Payload"] for each in came] == transitions(api)
    assert len(failures) == 3
    assert {"the history cannot be read for events"} == {
        each["event"] for each in logged if each["log_level"] == "error"
    }


def test_a_replay_that_fails_says_why(api: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    report(FakeAgent(api), up())

    def fails(query: HistoryQuery) -> Sequence[StoredTransition]:
        raise errors[0]

    monkeypatch.setattr(api.services.events.maker, "select", fails)
    errors = [StoreError("the disk is gone"), ValueError("x")]
    with capture_logs():
        for text in ("the disk is gone", "internal error; the server's log says more"):
            with stream(api, "?index=1") as found:
                assert found.line() == {"Error": text}
                assert found.raw() == b""
            errors.pop(0)


def test_no_place_is_lost_while_turns_are_taken(tmp_path: Path, turns: list[Turns]) -> None:
    """Free the places of streams that are refused, or that leave during a replay."""
    places = {"server_max_waiting_reads": "1", "server_max_streams": "4"}
    with serving(tmp_path, live=True, **places, **FEW_THREADS) as api:
        assert isinstance(api, Live)
        report(FakeAgent(api), up())
        (taking,) = turns
        taken = [taking.begin(SELECTED, str(number), lambda: None) for number in range(2)]
        assert taken == [True, False]
        packed = {"Accept-Encoding": "gzip"}
        for _ in range(8):
            with stream(api, "?index=1", packed) as found:
                assert found.line() == {
                    "Error": "too many costly reads wait already; try again later"
                }
            eventually(lambda: api.services.events.streams == 0)
        for number in range(2):
            taking.end(SELECTED, str(number), 0.0)
        with stream(api, "?index=1", packed) as found:
            assert found.line()["Events"]


def test_a_store_that_went_back_ends_streams(api: Live) -> None:
    last = report(FakeAgent(api), up())
    with stream(api, "?index=1") as found:
        assert found.line()["Index"] == last
        eventually(lambda: api.services.events.consumers)
        state = api.services.feed.state
        api.services.events.missed(state, state.changed(index=last - 1))
        assert found.line()["Error"].startswith("the store was replaced by an earlier one")


def test_transitions_that_are_deleted_during_a_replay_leave_a_gap(api: Live) -> None:
    agent = FakeAgent(api)
    for number in range(2 * PAGE + 10):
        report(agent, up() if number % 2 else down(str(number)), f"p{number % 30}")
    maker, state = api.services.events.maker, api.services.feed.state
    moments = maker.moments(0, state, ())
    assert next(moments).events
    store = api.services.store
    store.retention = Retention(maximum=5)
    for number in range(300):
        report(agent, up() if number % 2 else down(str(number)), f"q{number % 30}")
    oldest = store.history(HistoryQuery(after=0, limit=1))[0]
    events = [event for moment in moments for event in moment.events]
    (gap,) = (event for event in events if event.type == "Gap")
    assert gap.index == state.index or gap.index == oldest.index
    assert json.loads(gap.body)["Payload"]["To"] == gap.index


def test_transitions_whose_numbers_have_gaps_are_not_taken_for_deleted_ones(
    api: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Allow for a store beyond this machine, which may number transitions by its own revisions."""
    agent = FakeAgent(api)
    for number in range(2 * PAGE + 10):
        last = report(agent, up() if number % 2 else down(str(number)), f"p{number % 30}")
    maker, step = api.services.events.maker, 1_000
    select = maker.select

    def sparse(query: HistoryQuery) -> Sequence[StoredTransition]:
        after = None if query.after is None else query.after // step
        return [each.changed(seq=each.seq * step) for each in select(replace(query, after=after))]

    monkeypatch.setattr(maker, "select", sparse)
    monkeypatch.setattr(maker, "_deleted_until", lambda: 0)
    with stream(api, "?topic=Plugin&index=1") as found:
        events = found.until(last)
    assert "Gap" not in {each["Type"] for each in events}
    numbers = [each["Payload"]["Seq"] for each in events]
    assert numbers == [each["Seq"] * step for each in transitions(api)]


def test_python_nomad_reads_it(api: Live) -> None:
    agent = FakeAgent(api)
    first = report(agent, up())
    host, port = api.address.removeprefix("http://").split(":")
    client = nomad.Nomad(host=host, port=int(port), timeout=PATIENCE)
    events: queue.Queue[Any] = queue.Queue()
    thread, ended, _ = client.event.stream.get_stream(
        index=first, topic={"CSIPlugin": "ebs0"}, event_queue=events
    )
    thread.start()
    try:
        assert events.get(timeout=PATIENCE)["Index"] == first
        second = report(agent, down())
        line = events.get(timeout=PATIENCE)
        assert (line["Index"], line["Events"][0]["Key"]) == (second, "ebs0")
    finally:
        ended.set()
        report(agent, up())  # it looks for its end after each line
        thread.join(PATIENCE)
    assert not thread.is_alive()


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["up", "down", "reason", "version", "gone"])),
    min_size=1,
    max_size=30,
)


class Follower:
    """Read all transitions until that of a plugin named "last"; now and then reconnect with the
    index after the previous one."""

    def __init__(self, api: Live, random: random.Random) -> None:
        self.rows: list[Any] = []
        self._api = api
        self._random = random
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self) -> None:
        index = 1
        while not self.rows or self.rows[-1]["ID"] != "last":
            with stream(self._api, f"?index={index}&topic=Plugin") as found:
                for _ in range(self._random.randrange(1, 6)):
                    line = found.line()
                    assert "Error" not in line, line
                    self.rows += [each["Payload"] for each in line["Events"]]
                    index = line["Index"] + 1
                    if self.rows[-1]["ID"] == "last":
                        break

    def end(self) -> list[Any]:
        """Return everything that it read."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.rows


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS, seed=st.integers(0, 1_000))
def test_those_who_connect_again_miss_nothing_and_get_nothing_twice(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str]], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("stream")
    with serving(folder, live=True, **FEW_THREADS) as api:
        assert isinstance(api, Live)
        agents = [FakeAgent(api, name=f"vm{number}") for number in range(3)]
        followers = [Follower(api, random.Random(seed + number)) for number in range(2)]
        for number, (which, what) in enumerate(steps):
            fingerprint = {
                "up": up(ProviderVersion="1"),
                "down": down("burns", ProviderVersion="1"),
                "reason": down(f"reason {number}", ProviderVersion="1"),
                "version": up(ProviderVersion=str(number)),
                "gone": None,
            }[what]
            report(agents[which], fingerprint)
        report(FakeAgent(api, name="last"), up(), "last")
        wanted = transitions(api)
        for each in followers:
            assert each.end() == wanted
