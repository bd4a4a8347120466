"""The conformance suite: the types that come along keep every rule, broken ones are told of."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from marshmallow import Schema

from plugind.errors import RegistryError
from plugind.fields import Number
from plugind.plugin_type import PluginType, WireSchema
from plugind.testing import RULES, Subject, Verdict, conformance, registered, trial
from tests.processes import PLUGIND, machine
from tests.testing.lamps import BROKEN, Dying, Hanging, Lamp, LampSchema

OF_PROBERS = [rule for rule in RULES if rule.name.endswith("-probe")]


def verdicts(type_: type[PluginType], *names: str) -> dict[str, Verdict]:
    rules = [rule for rule in RULES if rule.name in names or not names]
    with registered(type_) as name:
        return {one.rule.name: one for one in conformance(name, rules=rules)}


def kept(name: str, block: Mapping[str, Any]) -> None:
    found = conformance(name, block)
    assert [str(one) for one in found if not one.passed] == []
    assert [one.note for one in found if one.note] == [], "its prober found something"
    assert [one.rule for one in found] == list(RULES)


def test_storage_drivers_keep_the_rules(tmp_path: Path) -> None:
    with machine(tmp_path) as house:
        house.driver("ebs0.sock")
        kept("csi", {"sockets": [f"{tmp_path}/sockets/*.sock"]})


def test_networks_keep_the_rules(tmp_path: Path) -> None:
    (tmp_path / "10-a.conf").write_text('{"name": "a", "type": "bridge"}')
    kept("cni", {"conf_dir": str(tmp_path), "bin_dirs": [str(tmp_path)]})


def test_every_rule_has_one_that_breaks_it() -> None:
    assert list(BROKEN) == [rule.name for rule in RULES]
    assert {*TOLD, "findings", *(rule.name for rule in OF_PROBERS)} == set(BROKEN)
    assert all(rule.demand.endswith(".") for rule in RULES)


TOLD = {
    "usable": "default_role 'pilot' is none of its roles",
    "documented": "the class Undocumented has no docstring",
    "settings-load": "plugin_type.lamp.licence is missing",
    "described": "that of its settings cannot: RuntimeError: no words",
    "names": "node_keys: Drain is the core's",
    "schemas-round-trip": "node: Watts is",
    "rows-serialize": "the row lacks Watts, which summary leaves out",
    "summary-of-nothing": "ValueError",
    "summary-without-details": "KeyError: 'Watts'",
    "summary-of-odd-values": "64-bit",
    "answers-in-time": "discover took ",
}


@pytest.mark.parametrize("name", [name for name in BROKEN if name in TOLD])
def test_what_breaks_a_rule_is_told_with_its_name(name: str) -> None:
    verdict = verdicts(BROKEN[name], name)[name]
    assert not verdict.passed
    assert str(verdict).startswith(f"{name}: ")
    assert TOLD[name] in str(verdict)


def test_all_that_a_careless_prober_does_is_told() -> None:
    told = str(verdicts(BROKEN["findings"], "findings")["findings"])
    assert "findings: 'a desk!' is no plugin ID" in told
    assert "findings: 'pilot' is no role" in told
    assert "probe of 'hall' raised KeyError: 'bulb' (lamps.py:" in told
    assert "attic/node: its plugin type gave a bad fingerprint" in told
    assert "'' is no name for a target" in told


def test_trouble_that_a_type_makes_an_outage_of() -> None:
    found = verdicts(BROKEN["failing-probe"], *(rule.name for rule in OF_PROBERS))
    for rule in OF_PROBERS:
        behaviour = rule.name.partition("-")[0]
        told = str(found[rule.name])
        assert f"{rule}: reading lamp/on-trial-{behaviour} gives: " in told


def test_a_prober_that_hangs_altogether(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "PATIENCE", 1.5)
    found = verdicts(Hanging, "answers-in-time", "failing-probe")
    assert "answers-in-time: discover had not ended after " in str(found["answers-in-time"])
    assert "failing-probe: nothing is told of it" in str(found["failing-probe"])


def test_a_prober_that_ends_its_process() -> None:
    told = str(verdicts(Dying, "findings")["findings"])
    assert "findings: its process ended, " in told


def of(key: str) -> type[Schema]:
    return WireSchema.from_dict({key: Number(load_default=0)})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"roles": {"node": "Allocations"}}, "roles: Allocations is the core's"),
        ({"roles": {"node": "Nodes", "pilot": "NODES"}}, "the plural 'nodes' is there 2 times"),
        ({"node_keys": {"pilot": "Pilots"}}, "node_keys has 'pilot', which is none of its roles"),
        ({"node_keys": {"node": "CSINodePlugins"}}, "is that of the plugin type csi"),
        (
            {"row_schema": of("NodesHealthy")},
            "row_schema: NodesHealthy is the core's",
        ),
        (
            {"fingerprint_schemas": {"node": of("Healthy")}},
            "fingerprint_schemas: Healthy of node is the core's",
        ),
    ],
)
def test_names_that_clash(changed: Mapping[str, Any], told: str) -> None:
    schemas = dict.fromkeys(changed.get("roles", {"node": ""}), LampSchema)
    class_ = type("Clashing", (Lamp,), {"fingerprint_schemas": schemas, **changed})
    with registered(Lamp) as name, Subject(name) as subject:
        subject._registry.types[name] = class_()  # type: ignore[index]
        (names,) = [rule for rule in RULES if rule.name == "names"]
        assert told in str(subject.judge(names))


def test_a_type_that_nobody_brings() -> None:
    with pytest.raises(RegistryError, match="no plugin type 'lamp' is installed; there are: cni"):
        conformance("lamp")


class Inside:
    class Lamp(Lamp):
        """It stands within another class."""

        name: ClassVar = "inner-lamp"


def test_what_is_registered_is_so_for_the_block() -> None:
    path = os.environ.get("PYTHONPATH")
    with registered(Inside.Lamp) as name:
        assert name == "inner-lamp"
        with registered(Inside.Lamp):
            assert conformance(name, rules=RULES[:1])[0].passed
    with pytest.raises(RegistryError):
        conformance("inner-lamp")
    assert os.environ.get("PYTHONPATH") == path

    class Local(Lamp):
        pass

    with pytest.raises(RegistryError, match="top of a module"), registered(Local):
        pass


def check(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PLUGIND, "type", "check", *words], capture_output=True, text=True, timeout=60
    )


def test_programs_keep_the_rules_as_the_command_tells(tmp_path: Path) -> None:
    file = tmp_path / "agent.hcl"
    checks = 'check "good" { command = ["true"] } \n check "bad" { command = ["/nowhere"] }'
    file.write_text(f'plugin_type "exec" {{ {checks} }}')
    done = check("exec", "--config", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    shown = [line.split()[:2] for line in done.stdout.splitlines()]
    assert shown == [["Rule", "Result"], *([rule.name, "kept"] for rule in RULES)]
    with registered(BROKEN["usable"]):
        done = check("lamp", "--json")
    assert done.returncode == 1
    first, *rest = json.loads(done.stdout)
    assert first["Rule"] == "usable"
    assert "default_role 'pilot'" in first["Shortfalls"][0]
    assert not any(row["Passed"] for row in [first, *rest])
    done = check("lamp")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: no plugin type 'lamp' is installed; there are: ")
