"""The conformance suite: the built-in types keep every rule, and broken types are reported."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from marshmallow import Schema

from plugind.errors import RegistryError
from plugind.plugin_type import PluginType, WireSchema
from plugind.testing import RULES, Subject, Verdict, conformance, registered, trial
from plugind.testing.schema_rules import rules as schema_rules
from plugind.wire.fields import Number
from tests.processes import PLUGIND, machine
from tests.promises import COMMAND_MAXIMUM
from tests.testing.lamps import BROKEN, Dying, Hanging, Lamp, LampSchema
from tests.testing.odd_lamps import CARELESS, LOOKED_AT, TRIED, Careless

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
    with machine(tmp_path) as harness:
        harness.driver("ebs0.sock")
        kept("csi", {"sockets": [f"{tmp_path}/sockets/*.sock"]})


def test_networks_keep_the_rules(tmp_path: Path) -> None:
    (tmp_path / "10-a.conf").write_text('{"name": "a", "type": "bridge"}')
    kept("cni", {"conf_dir": str(tmp_path), "bin_dirs": [str(tmp_path)]})


def test_every_rule_has_one_that_breaks_it() -> None:
    assert list(BROKEN) == [rule.name for rule in RULES]
    assert {*EXPECTED, "probe-results", *(rule.name for rule in OF_PROBERS)} == set(BROKEN)
    assert all(rule.demand.endswith(".") for rule in RULES)


EXPECTED = {
    "usable": "default_role 'pilot' is not one of its roles",
    "documented": "the class Undocumented has no docstring",
    "settings-load": "plugin_type.lamp.licence is missing",
    "described": "that of its settings cannot: RuntimeError: no words",
    "names": "node_keys: Drain is the core's",
    "load-defaults": "node: Watts has no load_default",
    "schemas-round-trip": "node: Watts is",
    "rows-serialize": "the row lacks Watts, which summary leaves out",
    "summary-of-nothing": "ValueError",
    "summary-without-details": "KeyError: 'Watts'",
    "summary-of-odd-values": "64-bit",
    "answers-in-time": "discover took ",
    "cold-start": "'desk': would not be shown if its first probe failed",
}


@pytest.mark.parametrize("name", [name for name in BROKEN if name in EXPECTED])
def test_a_type_that_breaks_a_rule_is_reported_with_its_name(name: str) -> None:
    verdict = verdicts(BROKEN[name], name)[name]
    assert not verdict.passed
    assert str(verdict).startswith(f"{name}: ")
    assert EXPECTED[name] in str(verdict)


def broken(found: Mapping[str, Verdict]) -> dict[str, list[str]]:
    """Return the rows of the broken rules, by rule."""
    return {
        name: [re.sub(r"\.py:\d+", ".py:LINE", text) for text in one.shortfalls]
        for name, one in found.items()
        if not one.passed
    }


@pytest.mark.parametrize("type_", TRIED, ids=lambda type_: type_.__name__)
def test_one_mistake_gives_one_row(type_: type[PluginType]) -> None:
    rule, expected = TRIED[type_]
    found = broken(verdicts(type_))
    assert [*found] == [rule]
    (row,) = found[rule]
    assert expected in row


@pytest.mark.parametrize("type_", LOOKED_AT, ids=lambda type_: type_.__name__)
def test_one_mistake_in_what_a_type_says_gives_one_row(type_: type[PluginType]) -> None:
    rule, expected = LOOKED_AT[type_]
    of_schemas = [one.name for one in schema_rules.table]
    assert broken(verdicts(type_, *of_schemas)) == {rule: [expected]}


def test_each_mistake_of_a_prober_gives_one_row() -> None:
    found = broken(verdicts(Careless))
    assert [*found] == ["probe-results"]
    # Targets are probed side by side, so either of two may be the first to raise an error.
    rows = (row.replace("('raise', 2)", "('raise', 1)") for row in found["probe-results"])
    assert sorted(rows) == sorted(CARELESS)


def test_all_mistakes_of_a_careless_prober_are_reported() -> None:
    expected = str(verdicts(BROKEN["probe-results"], "probe-results")["probe-results"])
    assert "probe-results: 'a desk!' is no plugin ID" in expected
    assert "probe-results: 'pilot' is no role" in expected
    assert "probe of 'hall' raised KeyError: 'bulb' (lamps.py:" in expected
    assert "attic/node: its plugin type gave a bad fingerprint" in expected
    assert "'' cannot name a target" in expected


def test_trouble_that_a_type_makes_an_outage_of() -> None:
    found = verdicts(BROKEN["failing-probe"], *(rule.name for rule in OF_PROBERS))
    for rule in OF_PROBERS:
        behaviour = rule.name.partition("-")[0]
        expected = str(found[rule.name])
        assert f"{rule}: reading lamp/on-trial-{behaviour} gives: " in expected


def test_a_prober_that_hangs_altogether(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "PATIENCE", 1.5)
    found = verdicts(Hanging, "answers-in-time", "failing-probe")
    assert "answers-in-time: discover had not ended after " in str(found["answers-in-time"])
    assert found["failing-probe"].passed
    assert found["failing-probe"].note == "not checked until answers-in-time is kept"


def test_a_prober_that_ends_its_process() -> None:
    expected = str(verdicts(Dying, "probe-results")["probe-results"])
    assert "probe-results: its process ended, " in expected


def of(key: str) -> type[Schema]:
    return WireSchema.from_dict({key: Number(load_default=0)})


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"roles": {"node": "Allocations"}}, "roles: Allocations is the core's"),
        ({"roles": {"node": "Nodes", "pilot": "NODES"}}, "the plural 'nodes' is used 2 times"),
        ({"node_keys": {"pilot": "Pilots"}}, "node_keys has 'pilot', which is not one of"),
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
def test_names_that_clash(changed: Mapping[str, Any], expected: str) -> None:
    schemas = dict.fromkeys(changed.get("roles", {"node": ""}), LampSchema)
    class_ = type("Clashing", (Lamp,), {"fingerprint_schemas": schemas, **changed})
    with registered(Lamp) as name, Subject(name) as subject:
        subject._registry.types[name] = class_()  # type: ignore[index]
        (names,) = [rule for rule in RULES if rule.name == "names"]
        assert expected in str(subject.check(names))


def test_a_type_that_no_package_has() -> None:
    with pytest.raises(RegistryError, match="no plugin type 'lamp' is installed; use one of: cni"):
        conformance("lamp")


class Inside:
    class Lamp(Lamp):
        """A type that is defined within another class."""

        name: ClassVar = "inner-lamp"


def test_a_registration_lasts_for_the_block() -> None:
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
        [PLUGIND, "type", "check", *words], capture_output=True, text=True, timeout=COMMAND_MAXIMUM
    )


def test_programs_keep_the_rules_by_the_command(tmp_path: Path) -> None:
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
    assert not first["Passed"]
    assert {row["Note"] for row in rest} == {"not checked until usable is kept"}
    done = check("lamp")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: no plugin type 'lamp' is installed; use one of: ")
