"""A node goes down within 1.2 times the time to live of its last answer."""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from plugind.errors import StoreError
from plugind.feed import liveness
from plugind.feed.deadlines import Deadlines, scaled_ttl
from plugind.feed.liveness import PAUSE, PAUSE_MAXIMUM, Liveness
from plugind.model import Beat, Run
from plugind.model.times import SECOND
from plugind.store.base import Heard
from tests.promises import PATIENCE, Watch
from tests.support import FakeAgent, eventually, serving, up

PROMISE = 1.2
BEATS_PER_TTL = 3
"""The number of heartbeats that an agent sends within its time to live."""


class Fleet:
    """Nodes that send heartbeats by a simulated clock, and a watch that looks as often as liveness
    does."""

    def __init__(self, seed: int, ttls: dict[str, float], until: float) -> None:
        self.random = random.Random(seed)
        self.deadlines = Deadlines()
        self.ends = {node_id: self.random.uniform(0, until) for node_id in ttls}
        self.ttls = ttls
        self.answered: dict[str, float] = {}
        self.noticed: dict[str, float] = {}
        self.pause = min(PAUSE * min(ttls.values()), PAUSE_MAXIMUM)

    def run(self, until: float) -> None:
        due = [(self.random.uniform(0, 1), node_id) for node_id in self.ttls]
        heapq.heapify(due)
        look = 0.0
        while look < until:
            while due and due[0][0] <= look:
                now, node_id = heapq.heappop(due)
                if now <= self.ends[node_id]:
                    heapq.heappush(due, (now + self.beat(node_id, now), node_id))
            for node_id in self.deadlines.late(look):
                heard = self.deadlines.late_since(node_id, look)
                assert heard == round(self.answered[node_id] * SECOND)
                self.noticed[node_id] = look
                self.deadlines.drop(node_id, look)
            look += self.pause

    def beat(self, node_id: str, now: float) -> float:
        """Answer a node's heartbeat; return the seconds until its next one."""
        ttl = self.ttls[node_id]
        self.deadlines.heard(node_id, Beat(round(now * SECOND), round(ttl * SECOND)), now)
        self.answered[node_id] = now
        return self.random.uniform(0.8, 1.0) * ttl / BEATS_PER_TTL


def test_the_promise_holds_for_each_of_many_nodes_by_its_own_time_to_live() -> None:
    ttls = {f"n{number}": 10.0 + number % 90 for number in range(1000)}
    fleet = Fleet(1, ttls, until=300.0)
    fleet.run(until=500.0)
    assert fleet.noticed.keys() == fleet.answered.keys()
    for node_id, noticed in fleet.noticed.items():
        waited = noticed - fleet.answered[node_id]
        assert ttls[node_id] < waited <= PROMISE * ttls[node_id]


SHORTEST = 10.0


class GrowingFleet(Fleet):
    """Nodes that come and go; the time to live of each depends on their number."""

    def __init__(self, seed: int, nodes: int, rate: float) -> None:
        super().__init__(
            seed, dict.fromkeys((f"n{number}" for number in range(nodes)), SHORTEST), 400.0
        )
        self.rate = rate
        self.beats: list[float] = []

    def beat(self, node_id: str, now: float) -> float:
        self.ttls[node_id] = scaled_ttl(SHORTEST, len(self.deadlines), self.rate)
        self.beats.append(now)
        return super().beat(node_id, now)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 600), st.sampled_from([5.0, 10.0, 50.0]))
def test_the_promise_holds_while_the_time_to_live_grows_and_shrinks(
    seed: int, nodes: int, rate: float
) -> None:
    fleet = GrowingFleet(seed, nodes, rate)
    fleet.run(until=1200.0)
    assert fleet.noticed.keys() == fleet.answered.keys()
    for node_id, noticed in fleet.noticed.items():
        waited = noticed - fleet.answered[node_id]
        assert fleet.ttls[node_id] < waited <= PROMISE * fleet.ttls[node_id]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 1000), st.sampled_from([5.0, 20.0, 50.0]))
def test_heartbeats_stay_below_the_rate(seed: int, nodes: int, rate: float) -> None:
    """Check the rate from the time at which each node has had an answer with all nodes present."""
    fleet = GrowingFleet(seed, nodes, rate)
    fleet.ends = dict.fromkeys(fleet.ends, 1e9)
    window = 2 * scaled_ttl(SHORTEST, nodes, rate)
    fleet.run(until=2 * window)
    assert not fleet.noticed
    count = sum(window < beat <= 2 * window for beat in fleet.beats)
    assert count <= rate * window


def test_the_time_to_live_is_scaled_by_the_nodes_that_are_not_down(tmp_path: Path) -> None:
    limits = {"server_max_heartbeats_per_second": "1", "server_heartbeat_ttl": "1s"}
    with serving(tmp_path, live=False, **limits) as api:
        agents = [FakeAgent(api) for _ in range(6)]
        for agent in agents:
            agent.report({})
        answers = [agent.beat().json["HeartbeatTTL"] for agent in agents]
        assert answers == [21 * SECOND] * 6
    with serving(tmp_path, live=False, **limits) as api:
        agents[0].api = api
        assert agents[0].beat().json["HeartbeatTTL"] == 21 * SECOND, "all are expected"
        gone = [agent.node_id for agent in agents[1:]]
        api.services.intake.silence(gone)
    with serving(tmp_path, live=False, **limits) as api:
        agents[0].api = api
        assert agents[0].beat().json["HeartbeatTTL"] == 3.5 * SECOND


def test_a_node_whose_last_answer_was_not_written_gets_the_time_to_live_of_many() -> None:
    """Allow for a server that was killed before it stored the longer time to live of its answer."""
    marked: dict[str, float] = {}
    nodes = {f"n{number}": Beat(5, number * SECOND // 100) for number in range(10)}
    begun = time.monotonic()
    watch = Liveness(
        0.1,
        60.0,
        nodes,
        silence=lambda ids, heard: marked.update(dict.fromkeys(ids, time.monotonic())),
        lost=tuple,
        collect=lambda each: None,
        rate=20.0,
    )
    try:
        eventually(lambda: len(marked) == 10)
        assert min(marked.values()) - begun >= 0.8
    finally:
        watch.close()


def test_no_node_that_beats_is_noticed() -> None:
    fleet = Fleet(2, {f"n{number}": 10.0 for number in range(200)}, until=1.0)
    fleet.ends = dict.fromkeys(fleet.ends, 1000.0)
    fleet.run(until=500.0)
    assert not fleet.noticed


def test_a_node_that_is_heard_after_the_look_is_not_late() -> None:
    deadlines = Deadlines()
    assert deadlines.heard("n", Beat(1, SECOND), 0.0), "it is new"
    assert not deadlines.heard("n", Beat(2, SECOND), 0.5)
    assert deadlines.late(2.0) == ["n"]
    assert deadlines.heard("n", Beat(3, SECOND), 2.1)
    assert deadlines.late_since("n", 2.0) is None
    deadlines.drop("n", 2.0)
    assert deadlines.late(10.0) == ["n"]


def test_beats_are_kept_once_and_again_when_that_failed() -> None:
    deadlines = Deadlines()
    deadlines.expect("old", Beat(1, SECOND), 0.0)
    deadlines.heard("a", Beat(2, SECOND), 0.0)
    deadlines.heard("b", Beat(3, SECOND), 0.0)
    taken = deadlines.take_unsaved()
    assert taken == {"a": Beat(2, SECOND), "b": Beat(3, SECOND)}
    deadlines.heard("a", Beat(4, SECOND), 0.0)
    deadlines.put_back(taken)
    assert deadlines.take_unsaved() == {"a": Beat(4, SECOND), "b": Beat(3, SECOND)}
    assert deadlines.take_unsaved() == {}


@pytest.mark.alone
def test_a_node_without_heartbeats_is_down_in_time_on_a_live_server(tmp_path: Path) -> None:
    """Check that a node without heartbeats is down within the promised time, given in each answer.

    The test has several nodes, because one thread may sleep a moment too long on a busy machine.
    """
    took: list[float] = []
    late: list[bool] = []

    def watch(api_node: FakeAgent) -> None:
        answer = api_node.report({"ebs0": {"node": up()}})
        ttl, since = answer.json["HeartbeatTTL"] / SECOND, Watch()
        catalogue = api_node.api.services.catalogue
        eventually(lambda: catalogue.state.nodes[api_node.node_id].status == "down", every=0.005)
        took.append(since.read()[0] / ttl)
        late.append(since.is_over(PROMISE * ttl))

    with serving(tmp_path, live=True, server_heartbeat_ttl="1s") as api:
        threads = [threading.Thread(target=watch, args=(FakeAgent(api),)) for _ in range(5)]
        for thread in threads:
            thread.start()
            time.sleep(0.2)
        for thread in threads:
            thread.join()
    assert min(took) >= 1.0
    assert late.count(False) >= 2, took


def test_the_time_to_live_of_the_last_answer_counts_across_a_restart() -> None:
    """Check that a server restarted with a shorter time to live honours the longer one it last
    gave."""
    marked: list[str] = []

    def silence(node_ids: Collection[str], last_heard: Callable[[str], int | None]) -> None:
        marked.extend(node_ids)

    nodes = {"patient": Beat(5, 3600 * SECOND), "other": Beat(5)}
    watch = Liveness(0.1, 60.0, nodes, silence=silence, lost=tuple, collect=lambda each: None)
    try:
        eventually(lambda: marked)
        time.sleep(0.2)
    finally:
        watch.close()
    assert marked == ["other"]


class Away:
    """A store that cannot be read while a node's deadline passes. Shortly after the store can be
    read again, it holds the heartbeat that another process received just before the deadline."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.reads = 0
        self.is_kept = threading.Event()

    def heard(self, after: int) -> Heard:
        age = time.monotonic() - self.begun
        if 0.8 < age < 1.15:
            raise StoreError("etcd has no leader")
        self.reads += age >= 1.15
        if self.reads < 3 or after:
            return Heard(after, [])
        self.is_kept.set()
        return Heard(1, [("n", Beat(time.time_ns(), 60 * SECOND))])

    def has_duty(self) -> bool:
        return True


def test_deadlines_wait_while_it_is_unknown_what_others_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(liveness, "RETRY", 0.05)
    marked: list[str] = []
    store = Away()
    watch = Liveness(
        1.0,
        60.0,
        {"n": Beat(time.time_ns())},
        silence=lambda node_ids, last_heard: marked.extend(node_ids),
        lost=tuple,
        collect=lambda each: None,
        shared=store,
    )
    try:
        assert store.is_kept.wait(PATIENCE)
        time.sleep(0.5)  # there is no event for what must not happen
    finally:
        watch.close()
    assert not marked


def test_when_a_node_was_last_heard_outlives_the_server(tmp_path: Path) -> None:
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})
        before = time.time_ns()
        index = agent.beat().json["Index"]
        heard = time.time_ns()
    time.sleep(1.0)
    with serving(tmp_path, live=False, server_heartbeat_ttl="1s") as api:
        assert api.services.catalogue.index == index, "a beat is no change"
        # The node keeps the time to live of its last answer, an hour.
        contents = api.services.store.load()
        (beat,) = contents.beats.values()
        assert before <= beat.heard <= heard
        assert beat.ttl == 3_600 * SECOND
        api.services.intake.silence([agent.node_id], lambda node_id: beat.heard)
    with serving(tmp_path, live=False) as api:
        node = api.services.feed.state.nodes.get(agent.node_id)
        assert node is not None
        assert node.heard == beat.heard < node.status_since - SECOND


def test_a_beat_is_written_soon_for_a_server_that_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path, live=False, server_heartbeat_ttl="1s") as api:
        agent = FakeAgent(api)
        agent.report({})
        store, intake = api.services.store, api.services.intake
        eventually(lambda: agent.node_id in store.load().beats)
        intake.forget_node(agent.node_id)
        assert store.load().beats == {}
        intake.remember({agent.node_id: Beat(1, 1)})
        assert store.load().beats == {}, "the node is gone"


def test_a_server_marks_that_it_runs_at_its_start_now_and_then_and_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def runs() -> list[Run]:
        return list(api.services.store.runs(0))

    begun = time.time_ns()
    with serving(tmp_path, live=False) as api:
        (first,) = eventually(runs)
        assert begun <= first.start == first.end <= time.time_ns()
    ended = time.time_ns()
    monkeypatch.setattr(liveness, "MARK_INTERVAL", 0.05)
    with serving(tmp_path, live=False, server_heartbeat_ttl="1s") as api:
        older, newer = eventually(lambda: len(found := runs()) == 2 and found)
        assert older.id == first.id
        assert first.end < older.end <= ended <= newer.start
        eventually(lambda: runs()[1].end > newer.end)
        index = api.services.feed.state.index
        assert api.services.store.load().index == index


def test_a_mark_that_fails_is_tried_again_and_logged_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(liveness, "RETRY", 0.01)
    tries: list[int] = []

    def fail() -> None:
        tries.append(1)
        raise StoreError("the disk is full")

    with capture_logs() as logged:
        watch = Liveness(
            0.1,
            60.0,
            {},
            silence=lambda ids, heard: None,
            lost=tuple,
            collect=lambda each: None,
            mark=fail,
        )
        try:
            eventually(lambda: len(tries) > 3)
        finally:
            watch.close()
    events = [each["event"] for each in logged]
    assert events.count("that this server runs could not be written") == 1
