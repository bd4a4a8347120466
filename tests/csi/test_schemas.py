from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from plugin_types.csi import CsiType
from plugind.model import Fingerprint
from plugind.model.times import INT64_MAX

CORE = {"PluginID", "AllocID", "Healthy", "HealthDescription", "UpdateTime"}
RECORDED = json.loads((Path(__file__).parent / "nomad_0_11_8.json").read_text())
TYPE = CsiType()
TOO_MANY = {str(number): "x" for number in range(300)}

NEWER = {
    "controller": {
        "ControllerInfo": {
            "SupportsCreateDelete",
            "SupportsCreateDeleteSnapshot",
            "SupportsListSnapshots",
            "SupportsClone",
            "SupportsExpand",
            "SupportsGetCapacity",
            "SupportsCondition",
            "SupportsGet",
        }
    },
    "node": {"NodeInfo": {"SupportsStats", "SupportsExpand", "SupportsCondition"}},
}


def load(role: str, fingerprint: Any) -> Any:
    return TYPE.fingerprint_schemas[role]().load(fingerprint)


recordings = pytest.mark.parametrize(
    ("role", "recorded"),
    [
        pytest.param(role, fingerprint, id=f"{role}-{number}")
        for role in TYPE.roles
        for number, fingerprint in enumerate(RECORDED[role])
    ],
)


@recordings
def test_recorded_fingerprints_pass_unchanged(role: str, recorded: Any) -> None:
    loaded = load(role, recorded)
    (info,) = NEWER[role]
    newer = {name: loaded[info].pop(name) for name in NEWER[role][info]}
    assert loaded == {name: value for name, value in recorded.items() if name not in CORE}
    assert set(newer.values()) == {False}


@recordings
def test_unknown_fields_have_zeros_of_the_same_types(role: str, recorded: Any) -> None:
    zero = load(role, {})
    assert zero.keys() == recorded.keys() - CORE
    for name, value in zero.items():
        assert type(value) is type(recorded[name])
    (info,) = NEWER[role]
    for name, value in recorded[info].items():
        assert type(zero[info][name]) is type(value)
    assert zero[info] is not load(role, {})[info]


def test_zero_values() -> None:
    assert load("node", {}) == {
        "Provider": "",
        "ProviderVersion": "",
        "RequiresControllerPlugin": False,
        "RequiresTopologies": False,
        "NodeInfo": {
            "ID": "",
            "MaxVolumes": 0,
            "AccessibleTopology": None,
            "RequiresNodeStageVolume": False,
            "SupportsStats": False,
            "SupportsExpand": False,
            "SupportsCondition": False,
        },
    }


@pytest.mark.parametrize(
    ("role", "bad"),
    [
        ("node", {"Provider": 1}),
        ("node", {"Provider": None}),
        ("node", {"RequiresTopologies": "true"}),
        ("node", {"NodeInfo": None}),
        ("node", {"NodeInfo": {"MaxVolumes": INT64_MAX + 1}}),
        ("node", {"NodeInfo": {"MaxVolumes": True}}),
        ("node", {"NodeInfo": {"AccessibleTopology": {"Segments": {"zone": 1}}}}),
        ("node", {"NodeInfo": {"AccessibleTopology": {"Segments": None}}}),
        ("node", {"NodeInfo": {"AccessibleTopology": {"Segments": TOO_MANY}}}),
        ("controller", {"ControllerInfo": []}),
        ("controller", {"ControllerInfo": {"SupportsClone": 1}}),
    ],
)
def test_wrong_types_are_refused(role: str, bad: Any) -> None:
    with pytest.raises(ValidationError):
        load(role, bad)


def test_unknown_fields_are_ignored() -> None:
    assert load("node", {"Later": 1, "NodeInfo": {"Later": {}}}) == load("node", {})


def fingerprint(
    role: str, *, healthy: bool = True, updated: int = 1, **details: Any
) -> Fingerprint:
    return Fingerprint(healthy, "", updated, details=load(role, details))


def test_a_plugin_without_instances() -> None:
    assert TYPE.summary({"controller": [], "node": []}) == {
        "Provider": "",
        "Version": "",
        "ControllerRequired": False,
        "ControllersRequired": False,
        "Topologies": [],
    }


def test_the_healthy_instance_updated_last_says_the_version() -> None:
    nodes = [
        fingerprint("node", updated=1, Provider="p", ProviderVersion="1"),
        fingerprint("node", updated=2, Provider="p", ProviderVersion="2"),
        fingerprint("node", updated=3, Provider="p", ProviderVersion="3", healthy=False),
        fingerprint("node", updated=4),
    ]
    assert TYPE.summary({"controller": [], "node": nodes})["Version"] == "2"
    assert TYPE.summary({"controller": [], "node": nodes[2:]})["Version"] == "3"


def test_a_controller_is_required_where_it_attaches() -> None:
    def required(**info: bool) -> Any:
        controllers = [
            fingerprint("controller", RequiresControllerPlugin=True, ControllerInfo=info)
        ]
        return TYPE.summary({"controller": controllers, "node": []})["ControllerRequired"]

    assert not required()
    assert required(SupportsAttachDetach=True)
    assert required(SupportsReadOnlyAttach=True)
    attaches = fingerprint("controller", ControllerInfo={"SupportsAttachDetach": True})
    requires = fingerprint("controller", RequiresControllerPlugin=True)
    assert not TYPE.summary({"controller": [attaches, requires]})["ControllersRequired"]


def in_zone(**segments: str) -> Fingerprint:
    return fingerprint("node", NodeInfo={"AccessibleTopology": {"Segments": segments}})


def test_topologies_are_distinct_and_in_order() -> None:
    nodes = [in_zone(zone="b"), in_zone(rack="1", zone="a"), in_zone(zone="b"), in_zone()]
    nodes.append(fingerprint("node"))
    assert TYPE.summary({"node": nodes})["Topologies"] == [
        {"rack": "1", "zone": "a"},
        {"zone": "b"},
    ]


fingerprints = st.builds(
    fingerprint,
    st.just("node"),
    healthy=st.booleans(),
    updated=st.integers(0, 3),
    Provider=st.sampled_from(["", "p", "q"]),
    ProviderVersion=st.sampled_from(["", "1", "2"]),
    NodeInfo=st.sampled_from([{}, {"AccessibleTopology": {"Segments": {"zone": "z"}}}]),
)


@given(st.lists(fingerprints))
def test_the_order_of_instances_does_not_matter(nodes: list[Fingerprint]) -> None:
    assert TYPE.summary({"node": nodes}) == TYPE.summary({"node": nodes[::-1]})


def test_ten_thousand_instances_take_no_time() -> None:
    nodes = [in_zone(zone=str(number % 50), rack=str(number % 7)) for number in range(100)] * 100
    started = time.process_time()
    summary = TYPE.summary({"controller": [], "node": nodes})
    assert time.process_time() - started < 0.5
    assert len(summary["Topologies"]) == 100


def test_rows_and_bodies_hold_the_summary() -> None:
    summary = TYPE.summary({"controller": [], "node": [in_zone(zone="a")]})
    assert TYPE.body_schema().dump(summary) == summary
    assert TYPE.row_schema().dump(summary) == {"Provider": "", "ControllerRequired": False}
