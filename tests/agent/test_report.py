"""A report after any messages, compared with a second, naive implementation of the rules."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from plugind.agent.protocol import Failed, Found, Targets
from plugind.agent.report import report
from plugind.agent.state import TypeState

NAMES = ["t1", "t2", "no id!"]
DEATH = "ended"
ACKNOWLEDGED = "acknowledged"
RETIRED = "retired"
ORIGIN = report.Origin("11111111-2222-4333-8444-555555555555", "n1", "dc1", "0", "run")

X, Y, T1 = "x", "y", "t1"
CONTROLLER, NODE, ANY = "controller", "node", "*"

# What drivers do: serve one half or both, not say which, change their name, serve nothing.
kinds = st.sampled_from(
    [
        [(X, CONTROLLER), (X, NODE)],
        [(X, CONTROLLER), (X, NODE), (Y, NODE)],
        [(X, NODE)],
        [(X, ANY)],
        [(X, ANY), (Y, NODE)],
        [(T1, NODE), (X, NODE)],
        [(T1, ANY)],
        [],
    ]
)
results = st.builds(
    lambda keys, healthy: {key: {"Healthy": healthy} for key in keys}, kinds, st.booleans()
)
names = st.sampled_from([*NAMES, "t1", "t1", "t1"])
events = st.lists(
    st.one_of(
        st.builds(lambda name, result: Found(name, 0, result), names, results),
        st.builds(lambda name: Failed(name, 0, "failed"), names),
        st.builds(lambda name, named: Failed(name, 0, "failed", frozenset(named)), names, kinds),
        st.builds(Targets, st.frozensets(names)),
        st.builds(
            lambda names, dropped: Targets(names, dropped - names),
            st.frozensets(names),
            st.frozensets(names),
        ),
        st.sampled_from([DEATH, ACKNOWLEDGED, DEATH, ACKNOWLEDGED, RETIRED]),
    ),
    min_size=3,
    max_size=10,
)


def plugins(state: TypeState) -> dict[tuple[str, str], Any]:
    """Return the reported instances, each as None, or as its health and description."""
    reported = report.build(ORIGIN, {"scripted": state})
    found = reported["Plugins"].get("scripted", {})
    assert list(found) == sorted(found)
    return {
        (id, role): short(fingerprint)
        for id, roles in found.items()
        for role, fingerprint in roles.items()
    }


def short(fingerprint: Mapping[str, Any] | None) -> Any:
    return fingerprint and (fingerprint["Healthy"], fingerprint.get("HealthDescription"))


def after(history: list[Any]) -> TypeState:
    state = TypeState()
    for event in history:
        if event == DEATH:
            state = state.after_death("dead", 1)
        elif event == ACKNOWLEDGED:
            reported = report.build(ORIGIN, {"scripted": state})
            state = state.acknowledged(report.left(reported, "scripted"))
        elif event == RETIRED:
            state = state.retired()
        else:
            state = state.after(event)
    return state


class Naive:
    """The rules, implemented naively: which target shows an instance, which had one, which need a
    null."""

    def __init__(self) -> None:
        self.good: dict[str, dict[tuple[str, str], Any]] = {}
        self.trouble: dict[str, str | None] = {}
        self.had: dict[str, set[tuple[str, str]]] = {}
        self.owed: set[tuple[str, str]] = set()
        self.names: set[str] = set()

    def shows(self, name: str) -> dict[tuple[str, str], Any]:
        trouble = self.trouble.get(name)
        good = self.good.get(name, {})
        return {key: (False, trouble) if trouble else (ok, None) for key, ok in good.items()}

    def hear(self, event: Any) -> None:
        match event:
            case Found(name, _, result):
                self.good[name] = {key: reported["Healthy"] for key, reported in result.items()}
                self.trouble[name] = None
                self.part(name)
            case Failed(name, _, reason, named):
                self.fail(name, reason, named)
            case Targets(names, dropped):
                self.names = set(names)
                self.lose(set(self.good) - names, dropped)
            case "retired":
                self.names = set()
                self.lose(set(self.good), set(self.had))
            case "ended":
                for name in self.names - self.good.keys():
                    if self.had.get(name) or "!" not in name:
                        self.fail(name, "dead", frozenset())
                self.trouble |= {name: "dead" for name, good in self.good.items() if good}
            case "acknowledged":
                self.owed -= {key for key, value in self.report().items() if value is None}
        if isinstance(event, Found | Failed | Targets) or event == DEATH:
            shown = [key for name in self.good for key in self.good[name]]
            self.owed -= set(shown)
            self.owed -= {(id, "*") for id, _ in shown}

    def fail(self, name: str, reason: str, named: Collection[tuple[str, str]]) -> None:
        self.trouble[name] = reason
        if not self.good.get(name) and self.had.get(name):
            self.good[name] = dict.fromkeys(self.had[name], False)
        elif not self.good.get(name) and named:
            self.good[name] = dict.fromkeys(named, False)
        elif not self.good.get(name) and "!" not in name:
            self.good[name] = {(name, "*"): False}
        self.had.setdefault(name, set()).update(self.good.get(name, {}))
        self.good.setdefault(name, {})

    def lose(self, went: Collection[str], dropped: Collection[str]) -> None:
        for name in went:
            del self.good[name]
            self.trouble.pop(name, None)
        for name in dropped:
            self.owed |= self.had.pop(name, set())

    def part(self, name: str) -> None:
        now = set(self.good[name])
        ids = {id for id, _ in now}
        for id, role in self.had.pop(name, set()):
            if (id, role) in now:
                continue
            if role == "*" and id in ids:
                continue
            if role != "*" and (id, "*") in now:
                now.add((id, role))
                continue
            self.owed.add((id, role))
        self.had[name] = now

    def report(self) -> dict[tuple[str, str], Any]:
        claims: dict[tuple[str, str], list[str]] = {}
        for name in sorted(self.good):
            for key in self.shows(name):
                claims.setdefault(key, []).append(name)
        reported: dict[tuple[str, str], Any] = {}
        for key, claimants in claims.items():
            reported[key] = self.shows(claimants[0])[key]
            if len(claimants) == 1:
                continue
            says = {name: self.shows(name)[key] for name in claimants}
            healthy = [name for name in claimants if says[name][0]]
            words = [n if says[n][0] else f"{n} ({says[n][1] or 'unhealthy'})" for n in claimants]
            if len(healthy) == 1:
                rest = [w for n, w in zip(claimants, words, strict=True) if n != healthy[0]]
                reported[key] = (True, f"healthy; also claimed by {' and '.join(rest)}")
            elif len(claimants) == 2:
                reported[key] = (False, f"claimed by two targets: {' and '.join(words)}")
            else:
                reported[key] = (
                    False,
                    f"claimed by 3 targets: {words[0]}, {words[1]} and {words[2]}",
                )
        owed = {key for key in self.owed if (key[0], "*") not in claims}
        return reported | dict.fromkeys(owed)


BOTH = Found("t1", 0, {(X, NODE): {"Healthy": True}, (X, CONTROLLER): {"Healthy": True}})
UNSAID = Found("t1", 0, {(X, ANY): {"Healthy": False}})
ONE = Found("t1", 0, {(X, NODE): {"Healthy": True}})


@settings(max_examples=300)
@example([BOTH, UNSAID, ONE])
@example([BOTH, UNSAID, Failed("t1", 0, "failed"), ONE])
@example([BOTH, UNSAID, Targets(frozenset())])
@example([BOTH, Targets(frozenset()), Targets(frozenset({"t1"})), ONE])
@example([BOTH, Targets(frozenset(), frozenset({"t1"})), UNSAID, RETIRED])
@example([BOTH, Targets(frozenset()), Targets(frozenset({"t1"})), DEATH])
@example([Failed("t1", 0, "failed", frozenset({(X, CONTROLLER)})), ONE])
@example([BOTH, Found("t2", 0, ONE.instances), Targets(frozenset({"t2"}), frozenset({"t1"}))])
@given(events)
def test_any_history_gives_what_the_rules_say(history: list[Any]) -> None:
    naive = Naive()
    for event in history:
        naive.hear(event)
    assert plugins(after(history)) == naive.report()


@given(events, events)
def test_a_report_depends_on_what_is_and_not_on_the_order_of_targets(
    history: list[Any], other: list[Any]
) -> None:
    state = after(history)
    shuffled = replace(state, targets=dict(reversed(list(state.targets.items()))))
    first = json.dumps(report.build(ORIGIN, {"b": state, "a": after(other)}))
    second = json.dumps(report.build(ORIGIN, {"a": after(other), "b": shuffled}))
    assert first == second


def test_the_time_is_kept_while_nothing_else_changes() -> None:
    healthy = {("x", "node"): {"Healthy": True, "Size": 1}}
    state = TypeState().after(Found("t1", 1_000_000_000, healthy))

    def time(state: TypeState) -> str:
        reported = report.build(ORIGIN, {"scripted": state})
        return str(reported["Plugins"]["scripted"]["x"]["node"]["UpdateTime"])

    assert time(state) == "1970-01-01T00:00:01Z"
    state = state.after(Found("t1", 2_000_000_000, healthy | {("y", "node"): {"Healthy": True}}))
    assert time(state) == "1970-01-01T00:00:01Z"
    state = state.after(Failed("t1", 3_000_000_000, "gone"))
    state = state.after_death("dead", 4_000_000_000).after_death("dead", 5_000_000_000)
    assert time(state) == "1970-01-01T00:00:04Z"
    reported = report.build(ORIGIN, {"scripted": state})["Plugins"]["scripted"]["x"]["node"]
    assert reported["Size"] == 1, "an unhealthy fingerprint keeps its last details"


def test_a_guessed_name_leaves_once_the_real_one_is_known() -> None:
    state = TypeState().after(Failed("t1", 0, "failed"))
    assert plugins(state) == {("t1", "*"): (False, "failed")}
    state = state.after(Found("t1", 0, {("x", "node"): {"Healthy": True}}))
    assert plugins(state) == {("t1", "*"): None, ("x", "node"): (True, None)}


def test_a_report_has_the_agents_own_fields() -> None:
    assert report.build(ORIGIN, {"scripted": TypeState()}) == {
        "Name": "n1",
        "Datacenter": "dc1",
        "Version": "0",
        "RunID": "run",
        "Address": "",
        "NodeClass": "",
        "Meta": {},
        "Attributes": {},
        "Plugins": {},
        "Allocations": {},
    }


def test_a_report_says_where_and_what_the_node_is() -> None:
    about = {"address": "10.0.0.7:4646", "node_class": "storage", "meta": {"rack": "r7"}}
    reported = report.build(replace(ORIGIN, **about), {})
    assert (reported["Address"], reported["NodeClass"]) == ("10.0.0.7:4646", "storage")
    assert reported["Meta"] == {"rack": "r7"}


def process(key: str) -> dict[str, Any]:
    """Return the description of a process."""
    return {"Key": key, "Name": key, "JobID": "j", "TaskGroup": "g", "CreateTime": 7}


def test_a_process_is_reported_once_and_named_by_its_instances() -> None:
    both = {"Healthy": True, "Process": process("boot/7/1")}
    state = TypeState().after(Found("t1", 0, {("x", "controller"): both, ("x", "node"): both}))
    state = state.after(Found("t2", 0, {("y", "node"): {"Healthy": True, "AllocID": "its own"}}))
    reported = report.build(ORIGIN, {"scripted": state})
    ((id_, described),) = reported["Allocations"].items()
    assert described == {"Name": "boot/7/1", "JobID": "j", "TaskGroup": "g", "CreateTime": 7}
    assert str(uuid.UUID(id_)) == id_
    fingerprints = reported["Plugins"]["scripted"]
    assert [one["AllocID"] for one in fingerprints["x"].values()] == [id_, id_]
    assert not any("Process" in one for one in fingerprints["x"].values())
    assert fingerprints["y"]["node"]["AllocID"] == "its own"
    assert report.build(ORIGIN, {"scripted": state}) == reported


def test_no_two_processes_have_one_id() -> None:
    def id_of(key: str, origin: report.Origin = ORIGIN) -> str:
        found = {("x", "node"): {"Healthy": True, "Process": process(key)}}
        state = TypeState().after(Found("t1", 0, found))
        (id_,) = report.build(origin, {"scripted": state})["Allocations"]
        return str(id_)

    elsewhere = replace(ORIGIN, node_id=str(uuid.uuid4()))
    assert len({id_of("boot/7/1"), id_of("boot/7/2"), id_of("boot/7/1", elsewhere)}) == 3


def test_an_instance_that_several_claim_names_no_process() -> None:
    found = {("x", "node"): {"Healthy": True, "Process": process("boot/7/1")}}
    state = TypeState().after(Found("t1", 0, found)).after(Found("t2", 0, found))
    reported = report.build(ORIGIN, {"scripted": state})
    assert reported["Allocations"] == {}
    assert "AllocID" not in reported["Plugins"]["scripted"]["x"]["node"]
