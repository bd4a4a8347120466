"""The statements of docs/filtering.md about filters are true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from plugind import filtering
from plugind.api.nodes import fields_of_nodes
from plugind.errors import BadRequest
from plugind.filtering.compiling import (
    NESTING_MAXIMUM,
    PATTERNS_MAXIMUM,
    STEPS_MAXIMUM,
    TERMS_MAXIMUM,
)
from plugind.filtering.matching import PATTERN_MAXIMUM
from plugind.filtering.parsing import LENGTH_MAXIMUM
from plugind.schemas.plugins import PluginSchemas
from plugind.types.registry import plugin_type

TEXT = (Path(__file__).parents[2] / "docs/filtering.md").read_text()
CSI = PluginSchemas.of(plugin_type("csi"))
PLUGINS = filtering.fields_of(CSI.row)
NODES = fields_of_nodes([CSI])


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_every_example_is_true_of_its_row() -> None:
    rows, examples = blocks("json"), blocks("filter")
    shown = zip((PLUGINS, NODES), map(json.loads, rows), examples, strict=True)
    for fields, row, expressions in shown:
        for expression in expressions.splitlines():
            assert filtering.compile(expression, fields)(row), expression


def test_expressions_within_the_text_are_true() -> None:
    row, _ = map(json.loads, blocks("json"))
    for wrong in ("NodesHealthy == two", 'NodesHealthy == "010"'):
        with pytest.raises(BadRequest, match="NodesHealthy is a number, not '"):
            filtering.compile(wrong, PLUGINS)
    assert filtering.compile('NodesHealthy == "2"', PLUGINS)(row)
    assert not filtering.compile("NodesHealthy == NodesExpected", PLUGINS)(row)
    assert filtering.compile("Provider == ID", PLUGINS)({**row, "Provider": "ID"})
    assert filtering.compile(r'ID == "a \"quoted\" word\n"', PLUGINS)({"ID": 'a "quoted" word\n'})


def test_the_mistake_shown_is_the_real_one() -> None:
    (shown,) = blocks("text")
    with pytest.raises(BadRequest) as raised:
        filtering.compile("NodesHealthy < NodesExpcted", PLUGINS)
    assert str(raised.value).startswith(shown.strip().removesuffix("..."))


def test_the_limits_shown_are_those_in_force() -> None:
    bounds = f"{LENGTH_MAXIMUM:,} characters, {TERMS_MAXIMUM} comparisons, nested {NESTING_MAXIMUM}"
    assert f"| an expression | {bounds} deep |" in TEXT
    assert f"| patterns | {PATTERNS_MAXIMUM}, each of {PATTERN_MAXIMUM} characters |" in TEXT
    assert f"| patterns together | {STEPS_MAXIMUM:,} instructions" in TEXT
