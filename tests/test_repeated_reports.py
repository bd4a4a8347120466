"""A report costs as much as it changes: repeated parts are not examined again, and no change is
missed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugind.config.settings import ServerLimits
from plugind.intake import preparing
from plugind.intake.digests import of_plugin
from plugind.model import Instance, InstanceKey, PluginKey
from plugind.schemas.nodes import Report
from tests.promises import PATIENCE
from tests.support import eventually, taken
from tests.test_intake import NODE, Harness

SECRET = "s"
ID = NODE % 0
DETAILS = {
    "Healthy": True,
    "HealthDescription": "ok",
    "AllocID": "",
    "Provider": "ebs",
    "ProviderVersion": "1",
    "RequiresTopologies": True,
    "NodeInfo": {"ID": "i-1", "MaxVolumes": 7, "AccessibleTopology": {"Segments": {"z": "1"}}},
    "UpdateTime": "2026-01-31T23:00:00Z",
}


@contextmanager
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[InstanceKey]]:
    """Yield the instances that are examined in the block, in order."""
    looked: list[InstanceKey] = []
    whole = preparing.read

    def read(item: Any, *rest: Any) -> Any:
        looked.append(item.key)
        return whole(item, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(preparing, "read", read)
        yield looked


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    made = Harness(tmp_path)
    yield made
    made.close()


def report(**fingerprints: Any) -> Report:
    return Report("vm", plugins={"csi": {id_: {"node": of} for id_, of in fingerprints.items()}})


def send(harness: Harness, wanted: Report) -> Any:
    return taken(harness.intake, ID, SECRET, wanted)


def held(harness: Harness) -> Mapping[str, Instance]:
    return {key.id: one for key, one in harness.feed.state.on_node(ID).items()}


def test_only_what_changed_is_looked_at(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    many = {f"p{number}": DETAILS for number in range(10)}
    send(harness, report(**many))
    with looks(monkeypatch) as looked:
        index = send(harness, report(**many)).index
        assert looked == []
        changed = many | {"p3": {**DETAILS, "Healthy": False}}
        assert send(harness, report(**changed)).index == index + 1
        assert [key.id for key in looked] == ["p3"]
    assert [id_ for id_, one in held(harness).items() if not one.fingerprint.healthy] == ["p3"]


CHANGES = [
    {"Healthy": False},
    {"HealthDescription": "fine"},
    {"AllocID": "a"},
    {"Provider": "other"},
    {"RequiresTopologies": False},
    {"NodeInfo": {**DETAILS["NodeInfo"], "MaxVolumes": 8}},  # type: ignore[dict-item]
    {"NodeInfo": {**DETAILS["NodeInfo"], "AccessibleTopology": None}},  # type: ignore[dict-item]
    {"UpdateTime": "2026-01-31T23:00:01Z"},
    {"Unknown": 1},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_an_item_that_differs_in_any_field_is_looked_at(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, change: Mapping[str, Any]
) -> None:
    send(harness, report(a=DETAILS, b=DETAILS))
    with looks(monkeypatch) as looked:
        send(harness, report(a={**DETAILS, **change}, b=DETAILS))
        assert [key.id for key in looked] == ["a"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)


def same(one: Any, other: Any) -> bool:
    """Return whether two values are the same JSON, in which 1, 1.0 and true are not."""
    return repr(one) == repr(other)


@given(VALUES, VALUES)
def test_digests_are_equal_only_for_what_is_the_same(one: Any, other: Any) -> None:
    key = PluginKey("csi", "a")
    assert (of_plugin(key, one, ()) == of_plugin(key, other, ())) is same(one, other)
    assert of_plugin(key, one, ()) != of_plugin(PluginKey("csi", "b"), one, ())


def test_digests_are_made_with_a_key_that_no_client_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = PluginKey("csi", "a")
    before = of_plugin(key, {"node": DETAILS}, ())
    monkeypatch.setattr("plugind.intake.digests._KEY", b"another key of this length, of 32")
    assert of_plugin(key, {"node": DETAILS}, ()) != before


BAD = {
    "a value": {"csi": {"a": {"node": {"Healthy": "yes"}}}},
    "a role": {"csi": {"a": {"node": DETAILS, "pilot": DETAILS}}},
    "an ID": {"csi": {"-" * 129: {"node": DETAILS}}},
    "no roles": {"csi": {"a b": {}}},
    "an object": {"csi": {"a": 1}},
    "a type": {"none": {"a": {"node": DETAILS}}},
    "too large": {"csi": {"a": {"node": {"Healthy": True, "More": [0] * 5_000}}}},
    "code that fails": {"faulty": {"a": {"node": {"Healthy": True}}}},
}


@pytest.mark.parametrize("plugins", BAD.values(), ids=BAD)
def test_mistakes_are_reported_each_time(harness: Harness, plugins: Mapping[str, Any]) -> None:
    answers = [send(harness, Report("vm", plugins=plugins)) for _ in range(3)]
    assert answers[0].rejected
    assert [each.rejected for each in answers] == [answers[0].rejected] * 3
    assert len({each.index for each in answers}) == 1


def test_a_type_that_the_token_may_not_register_is_refused_though_it_was_taken(
    harness: Harness,
) -> None:
    wanted = report(a=DETAILS)
    send(harness, wanted)
    for _ in range(2):
        refused = taken(harness.intake, ID, SECRET, wanted, refused={"csi"})
        assert [each.type for each in refused.rejected] == ["csi"]
        assert not held(harness)["a"].fingerprint.healthy
    assert send(harness, wanted).rejected == ()
    assert held(harness)["a"].fingerprint.healthy


def test_what_a_limit_left_out_is_left_out_and_taken_once_there_is_room(tmp_path: Path) -> None:
    harness = Harness(tmp_path, limits=ServerLimits(max_instances=1))
    try:
        wanted = report(a=DETAILS, b=DETAILS)
        for _ in range(2):
            (rejected,) = send(harness, wanted).rejected
            assert rejected.limit == "max_instances"
    finally:
        harness.close()
    roomy = Harness(tmp_path)
    try:
        assert send(roomy, wanted).rejected == ()
        assert set(held(roomy)) == {"a", "b"}
    finally:
        roomy.close()


def test_another_version_of_a_type_validates_all_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Harness(tmp_path)
    send(first, report(a=DETAILS))
    first.close()
    second = Harness(tmp_path)
    try:
        second.intake._generations = dict.fromkeys(second.intake._generations, "newer")
        with looks(monkeypatch) as looked:
            send(second, report(a=DETAILS))
            assert [key.id for key in looked] == ["a"]
    finally:
        second.close()


def test_what_is_gone_comes_back_and_what_is_missing_is_noticed(harness: Harness) -> None:
    both = report(a=DETAILS, b=DETAILS)
    send(harness, both)
    send(harness, report(a=DETAILS))
    assert held(harness)["b"].missing_since is not None
    send(harness, both)
    assert held(harness)["b"].missing_since is None
    send(harness, report(a=DETAILS, b=None))
    assert set(held(harness)) == {"a"}
    send(harness, report(a=DETAILS, b=None))
    send(harness, both)
    assert set(held(harness)) == {"a", "b"}


def test_what_an_operator_forgot_is_decided_anew(harness: Harness) -> None:
    sick = {**DETAILS, "Healthy": False}
    wanted = report(a=sick, b=DETAILS)
    send(harness, wanted)
    send(harness, wanted)
    harness.intake.forget_plugin(PluginKey("csi", "a"))
    for _ in range(2):
        send(harness, wanted)
        assert set(held(harness)) == {"b"}
    send(harness, report(a=DETAILS, b=DETAILS))
    assert set(held(harness)) == {"a", "b"}


def test_any_role_stands_for_those_that_are_known_now(harness: Harness) -> None:
    send(harness, Report("vm", plugins={"csi": {"a": {"*": DETAILS}}}))
    assert [key.role for key in harness.feed.state.on_node(ID)] == ["node"]
    send(harness, Report("vm", plugins={"csi": {"a": {"node": DETAILS, "controller": DETAILS}}}))
    sick = {**DETAILS, "Healthy": False}
    for _ in range(2):
        send(harness, Report("vm", plugins={"csi": {"a": {"*": sick}}}))
        states = harness.feed.state.on_node(ID).items()
        assert {key.role: one.fingerprint.healthy for key, one in states} == {
            "node": False,
            "controller": False,
        }


def test_a_process_that_is_described_anew_is_taken(harness: Harness) -> None:
    plugins = {"csi": {"a": {"node": {**DETAILS, "AllocID": "x"}}}}
    for name in ("first", "second", "second"):
        send(harness, Report("vm", plugins=plugins, allocations={"x": {"Name": name}}))
        process = held(harness)["a"].fingerprint.allocation
        assert process is not None
        assert process.name == name


def test_a_report_that_was_prepared_before_a_change_is_worked_out_again(
    harness: Harness,
) -> None:
    """Send a second report that restores the first state while the change is being written."""
    send(harness, report(a=DETAILS, b=DETAILS))
    harness.store.may_commit.clear()
    with ThreadPoolExecutor(2) as pool:
        sick = {**DETAILS, "Healthy": False}
        first = pool.submit(send, harness, report(a=sick, b=DETAILS))
        eventually(lambda: harness.store.waiting == 1)
        second = pool.submit(send, harness, report(a=DETAILS, b=DETAILS))
        eventually(lambda: len(harness.intake._writer._queue) == 1)
        harness.store.may_commit.set()
        assert first.result(PATIENCE).index < second.result(PATIENCE).index
    assert held(harness)["a"].fingerprint.healthy


def test_a_node_that_is_removed_is_forgotten_here_too(harness: Harness) -> None:
    send(harness, report(a=DETAILS))
    harness.intake.forget_node(ID)
    known = harness.intake._known
    assert not known._digests
    assert not known._plugins
    send(harness, report(a=DETAILS))
    assert set(held(harness)) == {"a"}


FINGERPRINTS = st.sampled_from(
    [
        DETAILS,
        {**DETAILS, "Healthy": False},
        {**DETAILS, "Provider": "other"},
        {"Healthy": False},
        {"Healthy": "no"},
        None,
        7,
    ]
)
PLUGINS = st.dictionaries(
    st.sampled_from(["a", "b", "c d"]),
    st.dictionaries(st.sampled_from(["node", "controller", "*", "x"]), FINGERPRINTS, max_size=2),
    max_size=3,
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(PLUGINS, min_size=1, max_size=6))
def test_any_sequence_of_reports_comes_to_what_it_comes_to_without_a_memory(
    tmp_path_factory: pytest.TempPathFactory, sequence: list[dict[str, Any]]
) -> None:
    ends = []
    for remembers in (True, False):
        harness = Harness(tmp_path_factory.mktemp("store"))
        try:
            answers = []
            for plugins in [each for each in sequence for _ in range(2)]:
                if not remembers:
                    harness.intake._known._plugins.clear()
                answers.append(send(harness, Report("vm", plugins={"csi": plugins})))
            shown = {
                key: (one.fingerprint.changed(updated=0), one.missing_since is None)
                for key, one in harness.feed.state.on_node(ID).items()
            }
            ends.append(([(each.index, each.rejected) for each in answers], shown))
        finally:
            harness.close()
    assert ends[0] == ends[1]
