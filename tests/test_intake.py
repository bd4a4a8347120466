"""The single writer: acknowledged changes are durable, and failed ones leave no trace."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import Mock

import pytest
from marshmallow import validates_schema

from plugind.catalogue import Catalogue
from plugind.config.settings import DEFAULT_LIMITS, ServerLimits
from plugind.errors import (
    Busy,
    Conflict,
    LimitReached,
    NotFound,
    StoreError,
    UnknownOutcome,
)
from plugind.feed.feed import Feed
from plugind.intake import Intake, writer
from plugind.intake.fair_queue import LARGE
from plugind.model import Change, Declaration, PluginKey
from plugind.plugin_type import PluginType, WireSchema
from plugind.schemas.nodes import Report
from plugind.schemas.plugins import PluginSchemas
from plugind.state import State
from plugind.store.base import Outcome, OutcomeUnknown
from plugind.store.sqlite import SqliteStore
from plugind.store.sqlite.checkpoints import Checkpoints
from plugind.types.registry import load_registry
from tests.promises import PATIENCE
from tests.support import eventually, taken

NODE = "11111111-2222-4333-8444-55555555%04d"


class Faulty(SqliteStore):
    """The real store, which fails or blocks when a test asks for it."""

    def __init__(self, data_dir: Path, fault: Exception | None = None) -> None:
        super().__init__(None, data_dir)
        self.fault = fault
        self.may_commit = threading.Event()
        self.may_commit.set()
        self.commits: list[int] = []
        self.waiting = 0
        self.is_miscounting = False

    def commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        self.waiting += 1
        self.may_commit.wait(PATIENCE)
        self.waiting -= 1
        if self.fault:
            raise self.fault
        self.commits.append(len(changes))
        indexes = super().commit(changes)
        return indexes[:-1] if self.is_miscounting else indexes


class FaultySchema(WireSchema):
    @validates_schema
    def check(self, data: Mapping[str, Any], **more: Any) -> None:
        raise RuntimeError("a fault\nof \ud800 the type's" + "!" * 5000)


class FaultyType(PluginType):
    """A type whose schema fails for every fingerprint."""

    name = "faulty"
    roles: ClassVar = {"node": "Nodes"}
    default_role = "node"
    fingerprint_schemas: ClassVar = {"node": FaultySchema}


class Harness:
    """Store, catalogue and intake, without the other parts of a server."""

    def __init__(
        self,
        data_dir: Path,
        fault: Exception | None = None,
        limits: ServerLimits = DEFAULT_LIMITS,
    ) -> None:
        registry = load_registry()
        types = {**registry.types, "faulty": FaultyType()}
        schemas = {name: PluginSchemas.of(type_) for name, type_ in types.items()}
        self.store = Faulty(data_dir, fault)
        self.feed = Feed(self.store, State.of(self.store.load()))
        self.catalogue = Catalogue(self.feed, schemas)
        origins = dict.fromkeys(types, "another package 1")
        self.intake = Intake(self.store, self.feed, schemas, origins, limits=limits)
        if fault is None:  # intake makes the first commit, to check that it can write
            eventually(lambda: self.store.commits)

    def report(self, number: int, healthy: bool = True, plugin: str = "ebs0") -> int:
        plugins = {"csi": {plugin: {"node": {"Healthy": healthy}}}}
        return taken(self.intake, NODE % number, "s", Report("vm", plugins=plugins)).index

    def close(self) -> None:
        self.store.may_commit.set()
        self.intake.close()
        self.catalogue.end()
        self.store.close()


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    made = Harness(tmp_path)
    yield made
    made.close()


def test_concurrent_reports_share_a_commit_and_have_their_own_indexes(harness: Harness) -> None:
    harness.store.may_commit.clear()
    with ThreadPoolExecutor(21) as pool:
        first = pool.submit(harness.report, 0)
        eventually(lambda: harness.store.waiting == 1)
        others = [pool.submit(harness.report, number) for number in range(1, 21)]
        eventually(lambda: len(harness.intake._writer._queue) == 20)
        assert not first.done()
        harness.store.may_commit.set()
        indexes = [first.result(PATIENCE), *(other.result(PATIENCE) for other in others)]
    assert sorted(indexes) == list(range(2, 23))
    assert sum(harness.store.commits) == 21
    assert len(harness.store.commits) < 21
    assert harness.catalogue.index == 22


def test_nothing_is_answered_or_seen_before_it_is_durable(harness: Harness) -> None:
    harness.report(0)
    harness.store.may_commit.clear()
    with ThreadPoolExecutor(2) as pool:
        change = pool.submit(harness.report, 0, False)
        eventually(lambda: harness.store.waiting == 1)
        same = pool.submit(harness.report, 0, False)
        assert harness.catalogue.plugin(PluginKey("csi", "ebs0")).index == 2
        assert not change.done()
        assert not same.done(), "the same report again rests on one that is not durable yet"
        harness.store.may_commit.set()
        assert (change.result(PATIENCE), same.result(PATIENCE)) == (3, 3)


@pytest.mark.parametrize("fault", [StoreError("the disk is full"), OSError("odd")])
def test_a_failed_commit_takes_everything_back(harness: Harness, fault: Exception) -> None:
    harness.report(0)
    before = harness.catalogue.plugins("csi")
    harness.store.fault = fault
    for plugin in ("ebs0", "new"):
        with pytest.raises(StoreError, match=r"full|odd"):
            harness.report(0, healthy=False, plugin=plugin)
    with pytest.raises(StoreError):
        harness.intake.forget_node(NODE % 0)
    with pytest.raises(StoreError):
        harness.intake.declare([Declaration(PluginKey("csi", "x"), {"node": 1})])
    assert harness.catalogue.plugins("csi") == before
    assert str(fault) in harness.intake.trouble
    assert (
        harness.intake.heartbeat(
            NODE % 0,
            "s",
            taken(
                harness.intake,
                NODE % 0,
                "s",
                Report("vm", plugins={"csi": {"ebs0": {"node": {"Healthy": True}}}}),
            ).digest,
        ).index
        == 2
    ), "what changes nothing needs no disk"
    harness.store.fault = None
    assert harness.report(0, healthy=False) == 3
    assert harness.intake.trouble == ""


def test_a_commit_whose_outcome_was_missed_stops_no_later_one(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.report(0)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "after_commit", Mock(side_effect=MemoryError))
        with pytest.raises(StoreError):
            harness.report(1)
    assert harness.report(2) == 4, "the one before has the index 3"
    assert harness.report(1) == 4, "it changes nothing any more"
    assert len(harness.feed.state.nodes) == 3


def test_trouble_from_the_start_is_reported_and_its_end_is_seen_without_a_change(
    tmp_path: Path,
) -> None:
    harness = Harness(tmp_path, StoreError("the disk is full"))
    eventually(lambda: harness.intake.trouble == "the disk is full")
    assert harness.catalogue.index == 1
    harness.store.fault = None
    eventually(lambda: harness.intake.trouble == "")
    assert harness.store.load().index == harness.catalogue.index == 1
    assert harness.report(0) == 2
    harness.close()


def test_a_mistake_of_one_request_is_its_own(harness: Harness) -> None:
    harness.store.may_commit.clear()
    with ThreadPoolExecutor(3) as pool:
        good = pool.submit(harness.report, 0)
        bad = pool.submit(harness.intake.forget_node, NODE % 9)
        also_good = pool.submit(harness.report, 1)
        harness.store.may_commit.set()
        assert {good.result(PATIENCE), also_good.result(PATIENCE)} == {2, 3}
        with pytest.raises(NotFound):
            bad.result(PATIENCE)


def test_a_heartbeat_of_a_node_that_is_not_known_wants_a_report(harness: Harness) -> None:
    with pytest.raises(Conflict):
        harness.intake.heartbeat(NODE % 0, "s", "")


def test_a_heartbeat_at_once_is_one_that_needs_nothing_of_the_store(harness: Harness) -> None:
    def digest_after(count: int, *, node: int = 0) -> str:
        plugins = {"csi": {f"ebs{each}": {"node": {"Healthy": True}} for each in range(count)}}
        report = Report("vm", plugins=plugins)
        return taken(harness.intake, NODE % node, "s", report).digest

    at_once = harness.intake.heartbeat_at_once
    assert at_once(NODE % 0, "s", "") is None, "it is not known"
    digest = digest_after(2)
    harness.store.may_commit.clear()
    assert at_once(NODE % 0, "s", digest) == harness.intake.heartbeat(NODE % 0, "s", digest)
    assert at_once(NODE % 0, "s", "another") is None, "another process may know it"
    assert at_once(NODE % 0, "x", digest) is None, "another process may have unpinned the secret"
    harness.store.may_commit.set()
    harness.intake.silence([NODE % 0])
    assert at_once(NODE % 0, "s", digest) is None, "to take it back is a change"
    large = digest_after(LARGE, node=1)
    assert at_once(NODE % 1, "s", large) is None, "its digest may take long"
    assert harness.intake.heartbeat(NODE % 1, "s", large).digest == large


def test_after_closing_nothing_is_taken_and_no_caller_hangs(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    harness.report(0)
    harness.intake.close()
    with pytest.raises(StoreError, match="stopping"):
        harness.report(1)
    harness.close()


def test_plugins_that_two_nodes_bring_and_take_in_one_commit(harness: Harness) -> None:
    """Keep a plugin as long as it has instances, also within a batch."""
    harness.report(0, plugin="other")
    harness.store.may_commit.clear()
    with ThreadPoolExecutor(3) as pool:
        blocker = pool.submit(harness.report, 5, plugin="third")
        eventually(lambda: harness.store.waiting == 1)
        one = pool.submit(harness.report, 1)
        two = pool.submit(harness.report, 2)
        eventually(lambda: len(harness.intake._writer._queue) == 2)
        harness.store.may_commit.set()
        first = min(one.result(PATIENCE), two.result(PATIENCE))
        blocker.result(PATIENCE)
    stamp = harness.store.load().stamps["plugin/csi/ebs0"]
    assert stamp.create_index == first
    assert stamp.modify_index == first + 1
    harness.store.may_commit.clear()
    with ThreadPoolExecutor(3) as pool:
        blocker = pool.submit(harness.report, 5, False, "third")
        eventually(lambda: harness.store.waiting == 1)
        gone = [pool.submit(harness.intake.forget_node, NODE % number) for number in (1, 2)]
        eventually(lambda: len(harness.intake._writer._queue) == 2)
        harness.store.may_commit.set()
        last = max(future.result(PATIENCE) for future in gone)
        blocker.result(PATIENCE)
    assert harness.catalogue.plugin(PluginKey("csi", "ebs0")).body is None
    assert "plugin/csi/ebs0" not in harness.store.load().stamps
    assert harness.store.load().stamps["plugins/csi"].modify_index >= last


def test_a_forget_in_the_same_batch_voids_the_digest_of_a_report(harness: Harness) -> None:
    harness.store.may_commit.clear()
    plugins = {"csi": {"ebs0": {"node": {"Healthy": False}}}}
    with ThreadPoolExecutor(3) as pool:
        blocker = pool.submit(harness.report, 5, plugin="third")
        eventually(lambda: harness.store.waiting == 1)
        report = pool.submit(taken, harness.intake, NODE % 0, "s", Report("vm", plugins=plugins))
        eventually(lambda: len(harness.intake._writer._queue) == 1)
        forget = pool.submit(harness.intake.forget_plugin, PluginKey("csi", "ebs0"))
        eventually(lambda: len(harness.intake._writer._queue) == 2)
        harness.store.may_commit.set()
        digest = report.result(PATIENCE).digest
        assert (report.result(PATIENCE).index, forget.result(PATIENCE)) == (3, 4)
        blocker.result(PATIENCE)
    with pytest.raises(Conflict, match="whole report"):
        harness.intake.heartbeat(NODE % 0, "s", digest)


def test_a_store_that_cannot_count_is_reported_and_ends_nothing(harness: Harness) -> None:
    harness.store.is_miscounting = True
    with pytest.raises(StoreError, match="0 outcomes to 1 changes"):
        harness.report(0)
    assert "0 outcomes" in harness.intake.trouble
    harness.store.is_miscounting = False
    assert harness.report(0) == 2, "the log has what was committed"


def test_a_fault_of_its_own_ends_intake_and_leaves_no_caller_waiting(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(planned: object, until: int) -> None:
        raise RuntimeError("a fault")

    harness.store.may_commit.clear()
    monkeypatch.setattr(harness.feed, "catch_up", fail)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(harness.report, 0)
        eventually(lambda: harness.store.waiting == 1)
        second = pool.submit(harness.report, 1)
        eventually(lambda: len(harness.intake._writer._queue) == 1)
        harness.store.may_commit.set()
        for asked in (first, second, pool.submit(harness.report, 2)):
            with pytest.raises(StoreError, match="restart the server: RuntimeError: a fault"):
                asked.result(PATIENCE)
    assert "a fault" in harness.intake.trouble


def test_a_fault_of_a_plugin_type_is_its_own_instances(harness: Harness) -> None:
    one = {"x": {"node": {"Healthy": True}}}
    accepted = taken(
        harness.intake, NODE % 0, "s", Report("vm", plugins={"csi": one, "faulty": one})
    )
    (rejected,) = accepted.rejected
    assert rejected.reason.startswith("the plugin type failed: RuntimeError: a fault of ? the type")
    assert rejected.reason.encode()
    assert len(rejected.reason) < 1000
    for type_, health in (("csi", b'"Healthy":true'), ("faulty", b'"Healthy":false')):
        body = harness.catalogue.plugin(PluginKey(type_, "x")).body
        assert body is not None
        assert health in body


def test_a_report_is_planned_again_if_an_instance_changed_while_it_waited(harness: Harness) -> None:
    """Check that an unhealthy fingerprint keeps the values of the last one.

    The last one may be newer than the one that was stored when the report was validated.
    """
    secret, key = "s", PluginKey("csi", "ebs0")

    def report(**fingerprint: Any) -> Report:
        return Report("vm", plugins={"csi": {"ebs0": {"node": fingerprint}}})

    taken(harness.intake, NODE % 0, secret, report(Healthy=True, Provider="old"))
    harness.store.may_commit.clear()
    with ThreadPoolExecutor(2) as pool:
        new = pool.submit(
            taken, harness.intake, NODE % 0, secret, report(Healthy=True, Provider="new")
        )
        eventually(lambda: harness.store.waiting == 1)
        sick = pool.submit(taken, harness.intake, NODE % 0, secret, report(Healthy=False))
        eventually(lambda: len(harness.intake._writer._queue) == 1)
        harness.store.may_commit.set()
        assert (new.result(PATIENCE).index, sick.result(PATIENCE).index) == (3, 4)
    body = harness.catalogue.plugin(key).body
    assert body is not None
    assert b'"Provider":"new"' in body
    assert b'"Provider":"old"' not in body


def test_a_mistake_that_is_rejected_twice_is_reported_twice(harness: Harness) -> None:
    bad = Report("vm", plugins={"csi": {"ebs0": {"node": {"Healthy": "yes"}}}})
    rejected = [taken(harness.intake, NODE % 0, "s", bad).rejected for _ in range(2)]
    assert [len(each) for each in rejected] == [1, 1]


def test_a_fingerprint_that_is_too_large_is_rejected_by_itself(harness: Harness) -> None:
    sound = {"Healthy": True, "HealthDescription": "x" * 4096}
    text = "x" * 2_200_000
    for large in ([0] * 5000, {"Healthy": True, "More": [text] * 2}, [text, {text: ""}]):
        plugins = {"csi": {"large": {"node": large}, "sound": {"node": sound}}}
        accepted = taken(harness.intake, NODE % 0, "s", Report("vm", plugins=plugins))
        (rejected,) = accepted.rejected
        assert (rejected.id, rejected.role) == ("large", "node")
        assert "more than 4,096 values" in rejected.reason
        body = harness.catalogue.plugin(PluginKey("csi", "large")).body
        assert body is not None
        assert b"was rejected: has more than" in body
    index = harness.catalogue.index
    taken(harness.intake, NODE % 0, "s", Report("vm", plugins=plugins))
    assert harness.catalogue.index == index, "the same again is nothing new"


@contextmanager
def limited(data_dir: Path, **limits: Any) -> Iterator[Harness]:
    harness = Harness(data_dir, limits=ServerLimits(**limits))
    try:
        yield harness
    finally:
        harness.close()


def csi(**fingerprints: Any) -> Report:
    return Report("vm", plugins={"csi": {id_: {"node": of} for id_, of in fingerprints.items()}})


def test_limits_hold_for_changes_that_are_written_together(tmp_path: Path) -> None:
    """Enforce limits even if all of the reports were validated while there was room."""
    with limited(tmp_path, max_nodes=3) as harness, ThreadPoolExecutor(6) as pool:
        harness.store.may_commit.clear()
        reports = [pool.submit(harness.report, 0)]
        eventually(lambda: harness.store.waiting == 1)
        reports += [pool.submit(harness.report, number) for number in range(1, 6)]
        eventually(lambda: len(harness.intake._writer._queue) == 5)
        harness.store.may_commit.set()
        errors = [report.exception(10) for report in reports]
        assert [type(error) for error in errors if error] == [LimitReached] * 3
        assert harness.store.commits == [0, 1, 2]
        assert len(harness.store.load().nodes) == 3


def test_room_that_was_taken_while_a_report_waited_is_not_given_again(tmp_path: Path) -> None:
    sound, sick = {"Healthy": True}, {"Healthy": False, "HealthDescription": "fire"}
    with limited(tmp_path, max_instances=2) as harness, ThreadPoolExecutor(2) as pool:
        taken(harness.intake, NODE % 0, "s", csi(a=sound))
        harness.store.may_commit.clear()
        first = pool.submit(harness.report, 1)
        eventually(lambda: harness.store.waiting == 1)
        second = pool.submit(taken, harness.intake, NODE % 0, "s", csi(a=sick, b=sound))
        eventually(lambda: len(harness.intake._writer._queue) == 1)
        harness.store.may_commit.set()
        assert first.result(PATIENCE) == 3
        accepted = second.result(PATIENCE)
        assert [(each.id, each.limit) for each in accepted.rejected] == [("b", "max_instances")]
        body = harness.catalogue.plugin(PluginKey("csi", "a")).body
        assert body is not None
        assert b"fire" in body, "a report of a stored instance is taken all the same"
        assert harness.catalogue.plugin(PluginKey("csi", "b")).body is None


def test_a_report_is_planned_again_if_one_before_it_was_rejected(tmp_path: Path) -> None:
    """Plan a report again that repeated the stored state, if that state has changed meanwhile."""
    sound = {"Healthy": True}
    large = {"Healthy": True, "HealthDescription": "x" * 3_000, "Provider": "y" * 128}
    with limited(tmp_path, max_instance_size=3_000) as harness, ThreadPoolExecutor(3) as pool:
        taken(harness.intake, NODE % 0, "s", csi(a=sound))
        harness.store.may_commit.clear()
        blocker = pool.submit(harness.report, 1)
        eventually(lambda: harness.store.waiting == 1)
        grown = pool.submit(taken, harness.intake, NODE % 0, "s", csi(a=large))
        eventually(lambda: len(harness.intake._writer._queue) == 1)
        same = pool.submit(taken, harness.intake, NODE % 0, "s", csi(a=sound))
        eventually(lambda: len(harness.intake._writer._queue) == 2)
        harness.store.may_commit.set()
        assert blocker.result(PATIENCE) == 3
        assert [each.limit for each in grown.result(PATIENCE).rejected] == ["max_instance_size"]
        assert (same.result(PATIENCE).index, same.result(PATIENCE).rejected) == (5, ())
        body = harness.catalogue.plugin(PluginKey("csi", "a")).body
        assert body is not None
        assert b"was rejected" not in body


def test_a_store_that_hangs_delays_no_caller_for_longer_than_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SLOW", 0.1)
    with (
        limited(tmp_path, max_waiting_writes=1) as harness,
        ThreadPoolExecutor(3) as pool,
    ):
        harness.report(0)
        harness.intake._writer.timeout = 0.3
        harness.store.may_commit.clear()
        first = pool.submit(harness.report, 1)
        eventually(lambda: harness.store.waiting == 1)
        second = pool.submit(harness.report, 2)
        eventually(lambda: len(harness.intake._writer._queue) == 1)
        with pytest.raises(Busy, match="wait to be written already"):
            harness.report(3)
        with pytest.raises(UnknownOutcome, match="outcome is unknown: the store has not answered"):
            first.result(PATIENCE)
        with pytest.raises(Busy, match="nothing was written"):
            second.result(PATIENCE)
        assert "does the disk hang" in harness.intake.trouble
        assert harness.catalogue.plugin(PluginKey("csi", "ebs0")).index == 2, "reads go on"
        harness.store.may_commit.set()
        eventually(lambda: harness.intake.trouble == "")
        eventually(lambda: harness.catalogue.index == 3)
        assert NODE % 1 in harness.feed.state.nodes
        assert NODE % 2 not in harness.feed.state.nodes, "who was refused is not written later"


class Unsure(Faulty):
    """A store that commits without knowing whether it did."""

    is_unsure = False

    def commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        outcomes = super().commit(changes)
        return [OutcomeUnknown("a time-out") for _ in outcomes] if self.is_unsure else outcomes


def test_an_unknown_outcome_is_looked_for_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "Faulty", Unsure)
    with limited(tmp_path) as harness:
        harness.store.is_unsure = True  # type: ignore[attr-defined]
        assert harness.report(0) == 2
        assert harness.report(0, healthy=False) == 3


def test_an_unknown_outcome_does_not_end_a_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "Faulty", Unsure)
    monkeypatch.setattr("plugind.intake.writer.PROOF_EVERY", 3600)
    with limited(tmp_path) as harness:
        harness.store.fault = StoreError("out of reach")
        with pytest.raises(StoreError, match="out of reach"):
            harness.report(0)
        harness.store.fault = None
        harness.store.is_unsure = True  # type: ignore[attr-defined]
        assert harness.report(0) == 2, "it is found in the log"
        assert harness.intake.trouble == "out of reach"
        harness.store.is_unsure = False  # type: ignore[attr-defined]
        assert harness.report(0, healthy=False) == 3
        assert harness.intake.trouble == ""
