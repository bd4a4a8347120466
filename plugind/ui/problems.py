"""What is wrong now, as its reader may see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from zlib import crc32

from plugind.model import PluginKey
from plugind.state.problems import CRITICAL, OK, PLUGIN, WARNING, Problem
from plugind.ui.facts import DOWN, HEALTHY, Facts, state_of
from plugind.ui.sight import Sight


def problems(facts: Facts, sight: Sight) -> Sequence[Problem]:
    """Return what is wrong now of what the caller may see, the worst first.

    Of plugins that the caller may list and not read only the counts are told.
    """
    counted = list(_counted(facts, sight))
    return [*facts.problems(sight.shows, with_nodes=sight.nodes), *counted]


def _counted(facts: Facts, sight: Sight) -> Iterator[Problem]:
    for name in sorted(sight.lists - sight.reads):
        for id_ in facts.state.ids_of(name):
            counts = facts.counts(PluginKey(name, id_))
            state = state_of(counts)
            if state != HEALTHY:
                severity = CRITICAL if state == DOWN else WARNING
                lacking = sum(max(0, each.expected - each.healthy) for each in counts)
                yield Problem(PLUGIN, severity, "", 0, 0, (), lacking, name, id_)


def name_of(problem: Problem) -> str:
    """Return a name of a problem that stays the same while the problem does."""
    about = (problem.kind, problem.type, problem.id, *problem.roles, problem.reason)
    return f"{crc32(repr((about, () if problem.type else problem.named)).encode()):08x}"


def worst(found: Iterable[Problem]) -> str:
    """Return "down" where something does not work at all, "degraded" for less, or "healthy"."""
    severities = {each.severity for each in found}
    return "down" if CRITICAL in severities else "degraded" if severities - {OK} else "healthy"


def amount(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 plugin``, ``3,000 plugins``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
