"""What is wrong now, grouped so that one cause is one entry: a node that is down, a plugin."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from plugind.model import DOWN, Declaration, PluginKey
from plugind.ui.facts import Facts, Placed
from plugind.ui.sight import Sight

NODE, CLONE, PLUGIN, MISSING = "node down", "two agents", "plugin", "not there"
_SINCE = re.compile(r" since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

NAMED = 3
"""Nodes that an entry names."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: of a node, or of a plugin, since a time (0 where it is not known).

    ``extent`` says how much is affected, ``reason`` why; ``other_reasons`` counts further ones.
    ``is_total``: nothing of it works. ``nodes`` are names and IDs, the first few.
    """

    kind: str
    since: int
    extent: str
    reason: str
    is_total: bool = True
    other_reasons: int = 0
    plugin: PluginKey | None = None
    node_id: str = ""
    node: str = ""
    nodes: Sequence[tuple[str, str]] = ()

    @property
    def id(self) -> str:
        """Return a name that stays the same while the problem does."""
        return f"{self.kind} {'/'.join(self.plugin or ())}{self.node_id}"


def problems(facts: Facts, sight: Sight) -> list[Problem]:
    """Return what is wrong now of what the caller may see, the newest first."""
    found = [
        *_down(facts, sight),
        *_cloned(facts, sight),
        *_unhealthy(facts, sight),
        *_missing(facts, sight.lists),
    ]
    return sorted(found, key=lambda each: (-each.since, each.id))


def _down(facts: Facts, sight: Sight) -> Iterator[Problem]:
    """Yield the nodes that are down, each with the instances on it."""
    for node in facts.state.nodes.values():
        if node.status != DOWN:
            continue
        hit = [each for each in facts.silent.get(node.id, ()) if each.key.type in sight.shows]
        if not (sight.nodes or hit):
            continue
        plugins = len({each.key.plugin for each in hit})
        extent = f"{amount(len(hit), 'instance')} of {amount(plugins, 'plugin')}" if hit else ""
        reason = "nothing heard of the node"
        yield Problem(NODE, node.heard, extent, reason, node_id=node.id, node=node.name)


def _cloned(facts: Facts, sight: Sight) -> Iterator[Problem]:
    for node in facts.state.nodes.values() if sight.nodes else ():
        if node.cloned_since:
            reason = "two agents report as this node; is its data_dir a copy?"
            yield Problem(
                CLONE, node.cloned_since, "", reason, False, node_id=node.id, node=node.name
            )


def _unhealthy(facts: Facts, sight: Sight) -> Iterator[Problem]:
    """Yield the plugins with unhealthy instances on nodes that are up."""
    for key, unhealthy in facts.unhealthy.items():
        if key.type not in sight.lists:
            continue
        known = len(facts.state.of_plugin(key))
        if key.type not in sight.reads:
            extent = f"{len(unhealthy)} of {amount(known, 'instance')}"
            yield Problem(PLUGIN, 0, extent, "", len(unhealthy) == known, plugin=key)
            continue
        here = [each for each in unhealthy if each.node.status != DOWN]
        if here:
            yield _of_plugin(key, here, known, is_total=len(unhealthy) == known)


def _of_plugin(key: PluginKey, here: list[Placed], known: int, *, is_total: bool) -> Problem:
    reasons = Counter(reason_alike(each) for each in here)
    (reason, _), *others = reasons.most_common()
    names = {each.node.id: each.node.name for each in here}
    return Problem(
        PLUGIN,
        min(each.shown.updated for each in here),
        f"{len(here)} of {amount(known, 'instance')}",
        reason,
        is_total,
        len(others),
        key,
        nodes=[(name, node_id) for node_id, name in names.items()][: NAMED + 1],
    )


def reason_alike(each: Placed) -> str:
    """Return why an instance is unhealthy, in the same words on every node where it is the same."""
    text = each.shown.description.replace(f"not reported by {each.node.name}", "not reported")
    return _SINCE.sub("", text, count=1)


def _missing(facts: Facts, types: Collection[str]) -> Iterator[Problem]:
    """Yield the plugins of which more instances are declared than are known."""
    for key, declaration in facts.state.declarations.items():
        if key.type not in types:
            continue
        if missing := lacking(facts, declaration):
            stamp = facts.state.stamps.get(key.resource)
            known = len(facts.state.of_plugin(key))
            since = stamp.create_time if stamp and not known else 0
            extent = ", ".join(f"{number:,} {role}" for role, number in missing.items())
            reason = "declared, and no node reports it"
            yield Problem(MISSING, since, f"missing: {extent}", reason, not known, plugin=key)


def lacking(facts: Facts, declaration: Declaration) -> dict[str, int]:
    """Return by role how many instances are declared that no node has."""
    known = Counter(each.role for each in facts.state.of_plugin(declaration.key))
    missing = {role: number - known[role] for role, number in declaration.expected.items()}
    return {role: number for role, number in missing.items() if number > 0}


def amount(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 plugin``, ``3,000 plugins``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def worst(found: Iterable[Problem]) -> str:
    """Return "down" where something does not work at all, "degraded" for less, or "healthy"."""
    totals = {each.is_total for each in found}
    return "down" if True in totals else "degraded" if totals else "healthy"
