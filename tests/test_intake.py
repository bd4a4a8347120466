"""The only writer: what it answers is durable, and what failed never was."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest
from marshmallow import validates_schema

from plugind.catalogue import Catalogue
from plugind.errors import Conflict, NotFound, StoreError
from plugind.intake import Intake
from plugind.model import Change, Declaration, PluginKey
from plugind.node_schemas import Report
from plugind.plugin_schemas import PluginSchemas
from plugind.plugin_type import PluginType, WireSchema
from plugind.registry import load_registry
from plugind.store.sqlite import SqliteStore
from tests.support import eventually

NODE = "11111111-2222-4333-8444-55555555%04d"


class Faulty(SqliteStore):
    """The real store, that fails or waits when it is told to."""

    def __init__(self, data_dir: Path, fault: Exception | None = None) -> None:
        super().__init__(None, data_dir)
        self.fault = fault
        self.may_commit = threading.Event()
        self.may_commit.set()
        self.commits: list[int] = []
        self.waiting = 0
        self.is_miscounting = False

    def commit(self, changes: Sequence[Change]) -> Sequence[int]:
        self.waiting += 1
        self.may_commit.wait(10)
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
    """One whose schema fails of every fingerprint."""

    name = "faulty"
    roles: ClassVar = {"node": "Nodes"}
    default_role = "node"
    fingerprint_schemas: ClassVar = {"node": FaultySchema}


class House:
    """Store, catalogue and intake, without the rest."""

    def __init__(self, data_dir: Path, fault: Exception | None = None) -> None:
        registry = load_registry()
        types = {**registry.types, "faulty": FaultyType()}
        schemas = {name: PluginSchemas.of(type_) for name, type_ in types.items()}
        self.store = Faulty(data_dir, fault)
        contents = self.store.load()
        self.catalogue = Catalogue(contents, schemas)
        origins = dict.fromkeys(types, "a stranger's 1")
        self.intake = Intake(self.store, contents, self.catalogue, schemas, origins)

    def report(self, number: int, healthy: bool = True, plugin: str = "ebs0") -> int:
        plugins = {"csi": {plugin: {"node": {"Healthy": healthy}}}}
        return self.intake.report(NODE % number, "s", Report("vm", plugins=plugins)).index

    def close(self) -> None:
        self.store.may_commit.set()
        self.intake.close()
        self.store.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


def test_concurrent_reports_share_a_commit_and_have_their_own_indexes(house: House) -> None:
    house.store.may_commit.clear()
    with ThreadPoolExecutor(21) as pool:
        first = pool.submit(house.report, 0)
        others = [pool.submit(house.report, number) for number in range(1, 21)]
        assert not first.done()
        house.store.may_commit.set()
        indexes = [first.result(10), *(other.result(10) for other in others)]
    assert sorted(indexes) == list(range(2, 23))
    assert sum(house.store.commits) == 21
    assert len(house.store.commits) < 21
    assert house.catalogue.index == 22


def test_nothing_is_answered_or_seen_before_it_is_durable(house: House) -> None:
    house.report(0)
    house.store.may_commit.clear()
    with ThreadPoolExecutor(2) as pool:
        change = pool.submit(house.report, 0, False)
        same = pool.submit(house.report, 0, False)
        assert house.catalogue.plugin(PluginKey("csi", "ebs0")).index == 2
        assert not change.done()
        assert not same.done(), "the same report again rests on one that is not durable yet"
        house.store.may_commit.set()
        assert (change.result(10), same.result(10)) == (3, 3)


@pytest.mark.parametrize("fault", [StoreError("the disk is full"), OSError("odd")])
def test_a_failed_commit_takes_everything_back(house: House, fault: Exception) -> None:
    house.report(0)
    before = house.catalogue.plugins("csi")
    house.store.fault = fault
    for plugin in ("ebs0", "new"):
        with pytest.raises(StoreError, match=r"full|odd"):
            house.report(0, healthy=False, plugin=plugin)
    with pytest.raises(StoreError):
        house.intake.forget_node(NODE % 0)
    with pytest.raises(StoreError):
        house.intake.declare([Declaration(PluginKey("csi", "x"), {"node": 1})])
    assert house.catalogue.plugins("csi") == before
    assert str(fault) in house.intake.trouble
    assert (
        house.intake.heartbeat(
            NODE % 0,
            "s",
            house.intake.report(
                NODE % 0, "s", Report("vm", plugins={"csi": {"ebs0": {"node": {"Healthy": True}}}})
            ).digest,
        ).index
        == 2
    ), "what changes nothing needs no disk"
    house.store.fault = None
    assert house.report(0, healthy=False) == 3
    assert house.intake.trouble == ""


def test_trouble_from_the_start_is_told_and_its_end_is_seen_without_a_change(
    tmp_path: Path,
) -> None:
    house = House(tmp_path, StoreError("the disk is full"))
    eventually(lambda: house.intake.trouble == "the disk is full")
    assert house.catalogue.index == 1
    house.store.fault = None
    eventually(lambda: house.intake.trouble == "", within=5)
    assert house.store.load().index == house.catalogue.index == 1
    assert house.report(0) == 2
    house.close()


def test_a_mistake_of_one_request_is_its_own(house: House) -> None:
    house.store.may_commit.clear()
    with ThreadPoolExecutor(3) as pool:
        good = pool.submit(house.report, 0)
        bad = pool.submit(house.intake.forget_node, NODE % 9)
        also_good = pool.submit(house.report, 1)
        house.store.may_commit.set()
        assert {good.result(10), also_good.result(10)} == {2, 3}
        with pytest.raises(NotFound):
            bad.result(10)


def test_a_heartbeat_of_a_node_that_is_not_known_wants_a_report(house: House) -> None:
    with pytest.raises(Conflict):
        house.intake.heartbeat(NODE % 0, "s", "")


def test_after_closing_nothing_is_taken_and_nobody_hangs(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.report(0)
    house.intake.close()
    with pytest.raises(StoreError, match="stopping"):
        house.report(1)
    house.store.close()


def test_plugins_that_two_nodes_bring_and_take_in_one_commit(house: House) -> None:
    """Existence is read off what is held, also within a batch."""
    house.report(0, plugin="other")
    house.store.may_commit.clear()
    with ThreadPoolExecutor(3) as pool:
        blocker = pool.submit(house.report, 5, plugin="third")
        one = pool.submit(house.report, 1)
        two = pool.submit(house.report, 2)
        house.store.may_commit.set()
        first = min(one.result(10), two.result(10))
        blocker.result(10)
    stamp = house.store.load().stamps["plugin/csi/ebs0"]
    assert stamp.create_index == first
    assert stamp.modify_index == first + 1
    house.store.may_commit.clear()
    with ThreadPoolExecutor(3) as pool:
        blocker = pool.submit(house.report, 5, False, "third")
        gone = [pool.submit(house.intake.forget_node, NODE % number) for number in (1, 2)]
        house.store.may_commit.set()
        last = max(future.result(10) for future in gone)
        blocker.result(10)
    assert house.catalogue.plugin(PluginKey("csi", "ebs0")).body is None
    assert "plugin/csi/ebs0" not in house.store.load().stamps
    assert house.store.load().stamps["plugins/csi"].modify_index >= last


def test_a_forget_in_the_same_batch_voids_the_digest_of_a_report(house: House) -> None:
    house.store.may_commit.clear()
    plugins = {"csi": {"ebs0": {"node": {"Healthy": False}}}}
    with ThreadPoolExecutor(3) as pool:
        blocker = pool.submit(house.report, 5, plugin="third")
        eventually(lambda: house.store.waiting == 1)
        report = pool.submit(house.intake.report, NODE % 0, "s", Report("vm", plugins=plugins))
        eventually(lambda: house.intake._queue.qsize() == 1)
        forget = pool.submit(house.intake.forget_plugin, PluginKey("csi", "ebs0"))
        eventually(lambda: house.intake._queue.qsize() == 2)
        house.store.may_commit.set()
        digest = report.result(10).digest
        assert (report.result(10).index, forget.result(10)) == (3, 4)
        blocker.result(10)
    with pytest.raises(Conflict, match="whole report"):
        house.intake.heartbeat(NODE % 0, "s", digest)


def test_a_store_that_cannot_count_is_told_of_and_ends_nothing(house: House) -> None:
    house.store.is_miscounting = True
    with pytest.raises(StoreError, match="0 indexes to 1 changes"):
        house.report(0)
    assert "0 indexes" in house.intake.trouble
    house.store.is_miscounting = False
    assert house.report(0) == 3


def test_a_fault_of_its_own_ends_intake_and_leaves_nobody_waiting(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(changes: object) -> None:
        raise RuntimeError("a fault")

    house.store.may_commit.clear()
    monkeypatch.setattr(house.catalogue, "publish", fail)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(house.report, 0)
        eventually(lambda: house.store.waiting == 1)
        second = pool.submit(house.report, 1)
        eventually(lambda: house.intake._queue.qsize() == 1)
        house.store.may_commit.set()
        for asked in (first, second, pool.submit(house.report, 2)):
            with pytest.raises(StoreError, match="restart the server: RuntimeError: a fault"):
                asked.result(10)
    assert "a fault" in house.intake.trouble


def test_a_fault_of_a_plugin_type_is_its_own_instances(house: House) -> None:
    one = {"x": {"node": {"Healthy": True}}}
    accepted = house.intake.report(NODE % 0, "s", Report("vm", plugins={"csi": one, "faulty": one}))
    (rejected,) = accepted.rejected
    assert rejected.reason.startswith("the plugin type failed: RuntimeError: a fault of ? the type")
    assert rejected.reason.encode()
    assert len(rejected.reason) < 1000
    for type_, health in (("csi", b'"Healthy":true'), ("faulty", b'"Healthy":false')):
        body = house.catalogue.plugin(PluginKey(type_, "x")).body
        assert body is not None
        assert health in body
