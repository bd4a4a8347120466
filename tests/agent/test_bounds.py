"""The limits on the instances of one plugin type, and on all those of a node together."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from plugind.agent import bounds
from plugind.agent.bounds import REPORT_SIZE_MAXIMUM, Room, fit, named, shares
from plugind.agent.protocol import Failed, Found, Targets, decode, encode
from plugind.agent.state import LEFT_MAXIMUM, TypeState
from plugind.api.endpoints import LARGE_BODY
from plugind.schemas.nodes import INSTANCES_MAXIMUM
from tests.agent.conftest import HANGS, StartSupervisor
from tests.promises import eventually
from tests.support import FakeAgent, serving


def found(target: str, *ids: str, text: str = "") -> Found:
    fingerprint = {"Healthy": True, "Text": text}
    return Found(target, 1, {(id, "node"): fingerprint for id in ids})


def ids(outcome: Found | Failed) -> list[str]:
    assert isinstance(outcome, Found)
    return sorted(id for id, _ in outcome.instances)


def test_an_instance_keeps_its_place_and_a_free_one_goes_to_one_that_waits() -> None:
    room = Room(3)
    assert ids(room.admit(found("t1", "x", "y"))) == ["x", "y"]
    assert ids(room.admit(found("t2", "a", "b"))) == ["a"]
    assert room.trouble.startswith("1 instances are not reported: at most 3 are (max_instances)")
    assert ids(room.admit(found("t1", "a", "b", "x", "y"))) == ["x", "y"]
    assert room.trouble.startswith("3 instances")
    room.leave("t1")
    assert room.admit(found("t2", "a", "b")) == found("t2", "a", "b")
    assert room.trouble == ""


def test_a_target_that_fails_keeps_its_places_and_needs_one_if_it_has_none() -> None:
    room = Room(2)
    room.admit(found("t1", "x", "y"))
    failed = Failed("t1", 2, "on fire")
    assert room.admit(failed) == failed
    assert room.admit(Failed("t2", 2, "on fire")) == Found("t2", 2, {}, beyond=1)
    assert room.trouble.endswith("; t2: on fire")
    room.leave("t1")
    assert room.admit(Failed("t2", 3, "on fire")) == Failed("t2", 3, "on fire")


def test_a_target_that_fails_from_the_start_needs_a_place_for_each_named_instance() -> None:
    room = Room(3)
    failed = Failed("t1", 1, "on fire", frozenset({("x", "node"), ("y", "node")}))
    assert room.admit(failed) == failed
    other = room.admit(replace(failed, target="t2"))
    assert isinstance(other, Found)
    assert (ids(other), other.beyond) == (["x"], 1)
    assert decode(encode(other).rstrip()) == other, "the agent takes the rest of it"


def test_room_has_a_size() -> None:
    room = Room(100, size=1_000)
    assert ids(room.admit(found("t1", "a", "b", text="x" * 300))) == ["a", "b"]
    assert room.admit(found("t2", "c", text="x" * 300)) == Found("t2", 1, {}, beyond=1)
    assert ids(room.admit(found("t3", "d"))) == ["d"]


def test_an_instance_without_room_has_not_left_on_purpose() -> None:
    state = TypeState().after(found("t1", "x", "y"))
    cut = decode(encode(Found("t1", 2, {("x", "node"): {"Healthy": True}}, beyond=1)).strip())
    assert state.after(cut).left == frozenset()
    whole = decode(encode(Found("t1", 2, {("x", "node"): {"Healthy": True}})).strip())
    assert state.after(cut).after(whole).left == {("y", "node")}


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 50)), st.integers(0, 100))
def test_shares_are_fair(wanted: Mapping[str, int], budget: int) -> None:
    got = shares(wanted, budget)
    assert got.keys() == wanted.keys()
    assert sum(got.values()) <= budget
    assert all(0 <= got[name] <= wanted[name] for name in wanted)
    short = [name for name in wanted if got[name] < wanted[name]]
    assert not short or sum(got.values()) == budget, "no share is left over while a type wants more"
    for name in short:
        assert got[name] >= max(got.values()) - 1, "who gets less than another wanted no more"


def plugins(number: int, text: str = "") -> dict[str, Any]:
    fingerprint = {"Healthy": True, "Text": text}
    return {f"p{each:05}": {"node": fingerprint} for each in range(number)}


def test_a_report_that_fits_is_left_as_it_is() -> None:
    given = {"ink": plugins(2_000), "pen": {"a": {"node": None}}}
    assert fit(given) == (given, {})


def test_many_instances_take_nothing_from_the_types_with_few() -> None:
    ink = {"a": {"node": {"Healthy": True}, "controller": None}}
    fitted, left_out = fit({"flood": plugins(5_000), "ink": ink, "torrent": plugins(9_000)})
    assert fitted["ink"] == ink
    assert (
        sum(len(roles) for each in fitted.values() for roles in each.values()) == INSTANCES_MAXIMUM
    )
    assert left_out == {"flood": 5_000 - 2_047, "torrent": 9_000 - 2_047}


def test_large_fingerprints_take_nothing_from_the_types_with_small_ones() -> None:
    ink = {"a": {"node": {"Healthy": True}}}
    fitted, left_out = fit({"flood": plugins(100, "\N{SNOWMAN}" * 50_000), "ink": ink})
    assert fitted["ink"] == ink
    assert 20 <= len(fitted["flood"]) < 100
    assert left_out == {"flood": 100 - len(fitted["flood"])}
    size = len(json.dumps({"Plugins": fitted}, separators=(",", ":")))
    assert size < REPORT_SIZE_MAXIMUM + 64 < LARGE_BODY - 2**19


def test_what_left_on_purpose_waits_for_room() -> None:
    flood: dict[str, Any] = {**plugins(INSTANCES_MAXIMUM), "a": {"node": None}}
    fitted, left_out = fit({"flood": flood})
    assert "a" not in fitted["flood"]
    assert left_out == {"flood": 1}


def test_a_type_with_too_many_instances_reports_that(scripted: StartSupervisor) -> None:
    p = scripted(block={"max_instances": 2})
    for name in ("a", "b", "c", "d"):
        p.order(name, "healthy node")
    p.supervisor.start()
    eventually(lambda: p.supervisor.trouble.startswith("2 instances are not reported: at most 2"))
    eventually(lambda: len(p.plugins()) == 2)
    kept = sorted(p.plugins())
    p.remove(kept[0])
    p.remove(kept[1])
    eventually(lambda: len(p.plugins().keys() - set(kept)) == 2)
    eventually(lambda: p.supervisor.trouble == "")


def test_troubles_of_a_type_are_reported_until_they_are_over(scripted: StartSupervisor) -> None:
    p = scripted(block=HANGS)
    p.order("no id!", "fail")
    p.order(".discover", "hang")
    p.supervisor.start()
    eventually(lambda: p.supervisor.trouble == "discover has not answered within 0.2s")
    p.remove(".discover")
    eventually(lambda: p.supervisor.trouble == "no id!: the page is torn")
    p.order("no id!", "die")
    eventually(lambda: "ended (status 7)" in p.supervisor.trouble)
    p.order("no id!", "healthy node")
    eventually(lambda: p.supervisor.trouble == "no id!: 'no id!' is no plugin ID")
    p.remove("no id!")
    eventually(lambda: p.supervisor.trouble == "")


def test_the_agent_holds_no_more_than_there_is_room_for(
    scripted: StartSupervisor, log: list[Any]
) -> None:
    p = scripted()
    big = encode(found("t", "x", text="x" * 900_000)).strip()
    for number in range(12):
        line = big.replace(b'"t"', b'"t%d"' % number)
        p.supervisor._hear(line)
    assert len(p.supervisor.state.targets) == 2 * bounds.SIZE_MAXIMUM // len(big)
    names = json.dumps({"targets": [str(number) for number in range(1_001)]}).encode()
    p.supervisor._hear(names)
    assert p.supervisor.state.names is None
    assert "there are more than 1,000 targets" in p.supervisor.trouble
    assert [each["event"] for each in log] == ["invalid message of a prober"] * 4


def test_a_flood_of_new_instances_is_not_remembered_forever() -> None:
    state = TypeState()
    for number in range(10):
        new = {(f"p{number}-{each}", "node"): {"Healthy": True} for each in range(1_000)}
        state = state.after(Found("t1", number, new, beyond=number % 2))
        assert len(state.targets["t1"].had) <= LEFT_MAXIMUM
        assert len(state.left) <= LEFT_MAXIMUM
    for number in range(10):
        state = state.after(Targets(frozenset({f"t{number}"})))
        state = state.after(Found(f"t{number}", 1, new))
        assert sum(map(len, state.gone.values())) <= LEFT_MAXIMUM


def test_a_server_takes_what_fits_and_not_what_does_not(tmp_path: Path) -> None:
    """Accept a report at both limits, of instances and bytes, and refuse a larger one."""
    sick = {"Healthy": False, "HealthDescription": "x" * 4_096}
    flood = {f"p{number}": dict.fromkeys(("controller", "node"), sick) for number in range(900)}
    small = {f"p{number}": {"check": {"Healthy": True}} for number in range(4_000)}
    fitting, left_out = fit({"csi": flood, "exec": small})
    assert left_out.keys() == {"csi", "exec"}
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        assert agent.report({}, Plugins={"csi": flood, "exec": small}).status in (400, 413)
        assert agent.report({}, Plugins=fitting).status == 200


def test_allocations_count_and_go_with_what_names_them(tmp_path: Path) -> None:
    """Accept that many instances and allocations, with that many bytes together."""
    described = {"Name": "x" * 2_000, "JobID": "y" * 2_000, "TaskGroup": "", "CreateTime": 1}
    ids = [str(uuid.UUID(int=number)) for number in range(5_000)]
    flood = {id: {"node": {"Healthy": True, "AllocID": id}} for id in ids}
    odd = {"a": {"node": {"Healthy": True, "AllocID": ["no", "text"]}}}
    small = {"b": {"node": {"Healthy": True, "AllocID": "b"}, "controller": None}}
    allocations = {**dict.fromkeys(ids, described), "b": described}
    plugins, left_out = fit({"csi": {**odd, **flood}, "exec": small}, allocations)
    kept = named(allocations, plugins)
    assert plugins["exec"] == small
    assert left_out.keys() == {"csi"}
    assert kept.keys() == {"b", *plugins["csi"]} - {"a"}
    assert 1_500 < len(kept) < 2_000
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        assert agent.report({}, Plugins=plugins, Allocations=kept).status == 200
