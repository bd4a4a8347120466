from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from marshmallow import ValidationError

from plugin_types.exec import ExecType
from plugin_types.exec.settings import CheckSchema, ExecSettings, ExecSettingsSchema
from plugind.config.reference import table
from plugind.plugin_type import SettingsSchema

ROOT = Path(__file__).parent.parent.parent


def load(**block: Any) -> ExecSettings:
    loaded = ExecType.settings_schema().load(block)
    assert isinstance(loaded, ExecSettings)
    return loaded


def test_without_checks_no_process_is_needed() -> None:
    settings = load()
    assert (settings.probe_interval, settings.probe_timeout) == (30.0, 10.0)
    assert ExecType().prober(settings) is None


def test_a_check_has_the_times_of_its_type_unless_it_says_others() -> None:
    settings = load(
        probe_interval="1m",
        check={
            "plain": {"command": ["/bin/true"]},
            "own": {"command": ["true", "x"], "probe_interval": "5s", "probe_timeout": "20s"},
        },
    )
    prober = ExecType().prober(settings)
    assert prober
    times = {}
    for id, target in prober.discover().items():
        own = prober.schedule(target).over(settings)
        times[id] = (own.probe_interval, own.probe_timeout)
    assert times == {"plain": (60.0, 10.0), "own": (5.0, 20.0)}
    assert settings.check["own"].command == ("true", "x")


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ({}, "Missing"),
        ({"command": "/bin/true x"}, "must be a list"),
        ({"command": []}, "must name a program"),
        ({"command": [""]}, "must name a program"),
        ({"command": ["bin/true"]}, "absolute path"),
        ({"command": ["true", "a\0b"]}, "zero bytes"),
        ({"command": ["true", 1]}, "must be a string"),
        ({"command": ["true"] * 257}, "Longer than maximum"),
        ({"command": ["true"], "format": "xml"}, "must be one of nagios, json"),
        ({"command": ["true"], "environment": {"A=B": "x"}}, "must be variables"),
        ({"command": ["true"], "environment": {"A": "x\0"}}, "must be variables"),
        ({"command": ["true"], "probe_timeout": "0s"}, "must be from"),
        ({"command": ["true"], "shell": True}, "Unknown"),
    ],
)
def test_mistakes_are_reported(check: Any, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        load(check={"a": check})
    assert text in str(caught.value.messages)


def test_an_id_that_is_none() -> None:
    with pytest.raises(ValidationError, match="letters, digits"):
        load(check={"a b": {"command": ["true"]}})


def test_every_setting_explains_itself() -> None:
    fields = {**ExecSettingsSchema().fields, **CheckSchema().fields}
    own = {"check", *CheckSchema().fields}
    assert not [name for name in own if not fields[name].metadata.get("help")]


def test_the_document_lists_them_all() -> None:
    """List all settings but those common to every type, which are in the core's reference."""
    text = (ROOT / "docs/plugin-types/exec.md").read_text()
    alike = table(SettingsSchema()).splitlines()
    rows = table(ExecSettingsSchema()).splitlines() + table(CheckSchema()).splitlines()
    own = [row for row in rows if row not in alike]
    assert len(own) >= 7
    assert not [row for row in own if row not in text]
