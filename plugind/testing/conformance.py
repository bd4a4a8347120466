"""The conformance suite: every rule, on any plugin type that is registered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from plugind.testing.prober_rules import rules as prober_rules
from plugind.testing.rules import Rule, Subject, Verdict
from plugind.testing.schema_rules import rules as schema_rules

RULES: tuple[Rule, ...] = (*schema_rules.table, *prober_rules.table)


def conformance(
    name: str, block: Mapping[str, Any] | None = None, rules: Iterable[Rule] = RULES
) -> list[Verdict]:
    """How the plugin type of that name stands by each rule.

    ``block`` are its settings while its prober is on trial, as plain values; best are some with
    which it finds something. Raises RegistryError where no package brings such a type.
    """
    with Subject(name, block) as subject:
        return [subject.judge(rule) for rule in rules]
