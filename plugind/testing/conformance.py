"""The conformance suite: every rule, applied to any registered plugin type."""

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
    """Return the verdict of each rule on the plugin type of that name.

    ``block`` has its settings for the trial of its prober, as plain values; choose settings with
    which the prober finds a target. Raise RegistryError when no package provides such a type.
    """
    with Subject(name, block) as subject:
        return [subject.check(rule) for rule in rules]
