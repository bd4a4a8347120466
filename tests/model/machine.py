"""The state machine: whatever happens, in any order, the real catalogue shows the same as the naive
one, and no index, stamp or watcher breaks its promise."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from plugind.errors import Forbidden, PlugindError, StoreError
from plugind.intake import Accepted
from plugind.model import NODES, Declaration, InstanceKey, Lost, PluginKey, node_of
from plugind.model.times import SECOND, parse_time
from plugind.schemas.nodes import Report
from tests.model import documents
from tests.model.harness import LIST, PLUGINS, RESOURCES, Harness, Seen
from tests.model.naive import REJECTED, ROLES, TYPE, Key, Naive, Shown, Stub, Wrong
from tests.promises import PATIENCE
from tests.support import taken

T = TypeVar("T")

SECRET = "s"
some_node = st.sampled_from(documents.NODES)
some_plugin = st.sampled_from(documents.PLUGINS)


class CatalogueMachine(RuleBasedStateMachine):
    """Each rule does one thing to both catalogues; the invariants then compare them."""

    patience: ClassVar[float] = PATIENCE

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.harness = Harness(Path(self.folder.name), self.patience)
        self.naive = Naive()
        self.answers: dict[str, tuple[str, object]] = {}
        self.last_reports: dict[str, dict[str, Any]] = {}
        self.last_jobs: dict[str, str] = {}
        self.before = self.look()
        self.before_kept = self._kept()
        self.before_index = self.harness.catalogue.index

    def teardown(self) -> None:
        with self.folder:
            self.harness.close()

    # The steps.

    @initialize(first=documents.REPORTS, second=documents.REPORTS)
    def begin(self, first: dict[str, Any], second: dict[str, Any]) -> None:
        """Report twice, because Hypothesis leaves out some rules and none must run on an empty
        catalogue."""
        self.report(documents.NODES[0], "vm", first)
        self.everything_is_as_expected()
        self.report(documents.NODES[1], "vm", second)

    @rule(
        node=some_node,
        name=st.sampled_from(["vm", "vm", "renamed"]),
        plugins=documents.REPORTS,
        job=documents.JOBS,
        has_times=st.booleans(),
    )
    def report(
        self,
        node: str,
        name: str,
        plugins: dict[str, Any],
        job: str = "j1",
        has_times: bool = False,
    ) -> None:
        self._tick()
        self.last_reports[node] = plugins
        self.last_jobs[node] = job
        if has_times:
            plugins = documents.probed_at(plugins, self.harness.now - 1)
        expected: list[Wrong] = []
        described = {id_: {"JobID": job} for id_ in ("a1", "a2")}
        given = Report(name, plugins=plugins, allocations=described)
        accepted = self._do(
            lambda: taken(self.harness.intake, node, SECRET, given),
            lambda naive: expected.extend(naive.report(node, name, plugins, job, self.harness.now)),
        )
        if accepted is not None:
            assert _wrong(accepted) == expected
            self.answers[node] = (accepted.digest, self.naive.answered(node))

    @rule(node=some_node, has_times=st.booleans())
    def report_the_same_again(self, node: str, has_times: bool) -> None:
        if node in self.last_reports and node in self.naive.nodes:
            name = self.naive.nodes[node].name
            self.report(node, name, self.last_reports[node], self.last_jobs[node], has_times)

    @rule(node=some_node, plugin=some_plugin)
    def lose(self, node: str, plugin: str) -> None:
        last = self.last_reports.get(node)
        if last is not None:
            rest = {id_: roles for id_, roles in last[TYPE].items() if id_ != plugin}
            self.report(node, "vm", {**last, TYPE: rest})

    @rule(node=some_node, is_right=st.sampled_from([True, True, False]))
    def beat(self, node: str, is_right: bool) -> None:
        self._tick()
        digest, answered = self.answers.get(node, ("", None))
        self._do(
            lambda: self.harness.intake.heartbeat(node, SECRET, digest if is_right else "x"),
            lambda naive: naive.heartbeat(node, is_right, answered, self.harness.now),
        )

    @rule(node=some_node)
    def pretend(self, node: str) -> None:
        """Report as the node with another secret."""

        def expect(naive: Naive) -> None:
            if node in naive.nodes or node in naive.kept:
                raise Forbidden
            naive.report(node, "vm", {}, "", self.harness.now)

        self._tick()
        report = Report("vm")
        is_pinned = node in self.naive.nodes or node in self.naive.kept
        secret = "another's" if is_pinned else SECRET
        accepted = self._do(lambda: taken(self.harness.intake, node, secret, report), expect)
        if accepted is not None:
            self.answers[node] = (accepted.digest, self.naive.answered(node))

    @rule(node=some_node, age=st.integers(-1, 5))
    def silence(self, node: str, age: int) -> None:
        """Mark a node as down that was last heard that long ago; the clock may have gone back."""
        self._tick()
        heard = self.harness.now - age * SECOND
        self._do(
            lambda: self.harness.intake.silence([node], lambda node_id: heard),
            lambda naive: naive.silence(node, heard, self.harness.now),
        )

    @rule(declared=documents.DECLARED)
    def declare(self, declared: dict[str, dict[str, int]]) -> None:
        self._tick()
        given = [Declaration(PluginKey(TYPE, id_), roles) for id_, roles in declared.items()]
        self._do(lambda: self.harness.intake.declare(given), lambda naive: naive.declare(declared))

    @rule(plugin=some_plugin)
    def forget_plugin(self, plugin: str) -> None:
        self._tick()
        key = PluginKey(TYPE, plugin)
        self._do(
            lambda: self.harness.intake.forget_plugin(key),
            lambda naive: naive.forget_plugin(plugin),
        )

    @rule(node=some_node, leaves=st.booleans())
    def forget_node(self, node: str, leaves: bool = False) -> None:
        """Forget the node as an operator, or let it leave while another pretends to be it."""
        self._tick()
        intake = self.harness.intake
        if leaves:
            self._do(lambda: intake.forget_node(node, SECRET), lambda naive: naive.leave(node))
            if node in self.naive.kept:
                self.pretend(node)
        elif node in self.naive.kept:
            self._do(lambda: intake.unpin(node), lambda naive: naive.unpin(node))
        else:
            self._do(lambda: intake.forget_node(node), lambda naive: naive.forget_node(node))

    @rule(age=st.integers(0, 12))
    def collect(self, age: int) -> None:
        self._tick()
        cutoff = self.harness.now - age * SECOND
        lost = set(self.harness.feed.state.lost())
        expired = {each for each in lost if each.since <= cutoff}
        # A node that came back and went down again meanwhile is not the one that expired.
        stale = {Lost(each.what, each.since - 1) for each in lost}
        self._do(
            lambda: self.harness.intake.collect(expired | stale),
            lambda naive: naive.collect(cutoff),
        )

    @rule()
    def fill_the_disk(self) -> None:
        """Make the next commit fail."""
        self.harness.store.is_full = True

    @rule()
    def restart(self) -> None:
        self.harness.restart()

    def _tick(self) -> None:
        self.harness.now += SECOND

    def _do(self, act: Callable[[], T], expect: Callable[[Naive], None]) -> T | None:
        """Apply an operation to both; return the real one's answer, None if that is an error."""
        after = copy.deepcopy(self.naive)
        expected, _ = _outcome(lambda: expect(after))
        if expected is None and self.harness.store.is_full and after != self.naive:
            expected = StoreError
        error, answer = _outcome(act)
        self.harness.store.is_full = False
        assert error == expected
        if error is None:
            self.naive = after
            index = answer.index if isinstance(answer, Accepted) else answer
            assert index == self.harness.catalogue.index
        return answer

    # The invariants.

    @invariant()
    def everything_is_as_expected(self) -> None:
        seen = self.look()
        self._check_recount(seen)
        changed = self._changed(seen)
        for resource in RESOURCES:
            self._check_indexes(resource, self.before[resource], seen[resource], changed)
        index = self.harness.catalogue.index
        is_kept = self._kept() != self.before_kept
        assert index == self.before_index or changed or is_kept, "an index for nothing"
        self.harness.check_woken(changed)
        self.before, self.before_index = seen, index
        self.before_kept = self._kept()

    def _kept(self) -> object:
        """Return everything that is stored, whether visible or not."""
        return copy.deepcopy((self.naive.declared, self.naive.forgotten, self.naive.kept))

    def look(self) -> dict[str, Seen]:
        return {resource: self.harness.look(resource) for resource in RESOURCES}

    def _changed(self, seen: Mapping[str, Seen]) -> set[str]:
        """Return what reads differently than before the step; a list does if an entry does."""
        changed = {r for r in RESOURCES if seen[r].said != self.before[r].said} - {LIST, NODES}
        if changed & set(PLUGINS):
            changed.add(LIST)
        if changed & set(map(node_of, documents.NODES)):
            changed.add(NODES)
        return changed

    def _check_indexes(self, resource: str, old: Seen, new: Seen, changed: set[str]) -> None:
        now = self.harness.catalogue.index
        assert new.at >= max(old.at, 1), f"the index of {resource} went back"
        if new.said is None:
            assert new.at == now, "a 404 has the store's index"
            return
        assert new.at == new.modified
        if resource in changed:
            assert new.modified == now > self.before_index
        else:
            assert (new.created, new.modified) == (old.created, old.modified)
        if old.said is not None:
            assert new.created == old.created, f"{resource} lived on and was created again"
        elif resource not in (LIST, NODES):
            assert new.created == now

    def _check_recount(self, seen: Mapping[str, Seen]) -> None:
        rows = {row["ID"]: row for row in seen[LIST].said}
        assert list(rows) == sorted(p for p in [*documents.PLUGINS, "d"] if self.naive.exists(p))
        for id_, row in rows.items():
            body = seen[PluginKey(TYPE, id_).resource]
            assert row.pop("ModifyIndex") == body.modified <= seen[LIST].at
            assert row == {key: body.said[key] for key in row}
            counts = self.naive.counts(id_)
            assert counts == {key: row[key] for key in counts}
            for role, plural in ROLES.items():
                _check_instances(body.said[plural], self.naive.instances(id_, role))
            assert _stubs(body.said["Allocations"]) == self.naive.stubs(plugin=id_)
        assert [resource for resource in PLUGINS if seen[resource].said is not None] == [
            PluginKey(TYPE, id_).resource for id_ in rows
        ]
        self._check_nodes(seen)
        assert set(self.harness.feed.state.lost()) == self._lost()

    def _check_nodes(self, seen: Mapping[str, Seen]) -> None:
        stubs = {stub["ID"]: stub for stub in seen[NODES].said}
        assert list(stubs) == sorted(self.naive.nodes)
        for node, stub in stubs.items():
            body = seen[node_of(node)].said
            machine = self.naive.nodes[node]
            status = "ready" if machine.down_since is None else "down"
            assert (stub["Name"], stub["Status"]) == (machine.name, status)
            assert (body["Name"], body["Status"]) == (machine.name, status)
            for role, name in (("controller", "CSIControllerPlugins"), ("node", "CSINodePlugins")):
                mine = {k.plugin for k in self.naive.entries if (k.node, k.role) == (node, role)}
                shown = {id_: self.naive.shown(Key(node, id_, role)) for id_ in mine}
                _check_instances(body[name], shown)
            allocations = self.harness.catalogue.allocations(node)
            assert _stubs(json.loads(allocations.body or b"")) == self.naive.stubs(node)
            assert allocations.index == seen[node_of(node)].at

    def _lost(self) -> set[Lost]:
        entries = self.naive.entries.items()
        missing = {
            Lost(InstanceKey(key.node, TYPE, key.plugin, key.role), entry.missing_since)
            for key, entry in entries
            if entry.missing_since is not None
        }
        nodes = self.naive.nodes.items()
        return missing | {Lost(n, m.down_since) for n, m in nodes if m.down_since is not None}


def _check_instances(said: Mapping[str, Any], expected: Mapping[str, Shown]) -> None:
    assert said.keys() == expected.keys()
    for key, one in expected.items():
        text = one.text.partition(REJECTED)
        assert said[key]["Healthy"] is one.healthy
        # The reason for a rejected fingerprint is in the schema's words.
        assert said[key]["HealthDescription"].startswith(text[0] + text[1])
        assert parse_time(said[key]["UpdateTime"]) == one.since
        assert said[key]["Provider"] == one.provider


def _stubs(said: list[dict[str, Any]]) -> list[Stub]:
    keys = ("ID", "NodeID", "NodeName", "JobID", "ClientStatus")
    return [Stub(*(one[key] for key in keys)) for one in said]


def _wrong(accepted: Accepted) -> list[Wrong]:
    return sorted((one.type, one.id, one.role, one.field) for one in accepted.rejected)


def _outcome(act: Callable[[], T]) -> tuple[type[PlugindError] | None, T | None]:
    try:
        return None, act()
    except PlugindError as error:
        return type(error), None
