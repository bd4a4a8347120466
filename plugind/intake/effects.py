"""Works out which resources read differently after a change, and the transitions it causes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from plugind.intake.transitions import Transitions
from plugind.model import (
    NODES,
    Change,
    Declaration,
    Fingerprint,
    Instance,
    Node,
    PluginKey,
    Step,
    Transition,
    node_of,
    plugins_of,
    seen,
)
from plugind.state import State


def with_effects(
    change: Change, state: State, left: str = "", versions: Mapping[str, str] | None = None
) -> Change:
    """Return a change of ``state`` together with the resources that read differently after it, and
    with its transitions. ``left`` is the reason given for instances that leave."""
    made = Transitions(change.time, left, versions or {}, state.flaps)
    transitions: list[Transition] = [
        *made.of_nodes(change.nodes),
        *made.of_declarations(change.declarations),
    ]
    plugins = {step.some.key for step in change.declarations if _is_seen(step, state)}
    node_ids = {step.some.id for step in change.nodes}
    for step, node in state.affected(change):
        before, after = _shown(step.before, node.before), _shown(step.after, node.after)
        if before == after and _label(before, node.before) == _label(after, node.after):
            continue
        key = step.some.key
        plugins.add(key.plugin)
        node_ids.add(key.node_id)
        if before is not None or after is not None:
            is_reported = step.before is not step.after
            shown = Step(before, after)
            transitions += made.of_instance(key, node, shown, is_reported=is_reported)
    touched = {key.resource for key in plugins} | {plugins_of(key.type) for key in plugins}
    if node_ids:
        touched |= {NODES, *(node_of(node_id) for node_id in node_ids)}
    removed = {key.resource for key in _plugins_gone(plugins, change, state)}
    removed |= {node_of(step.some.id) for step in change.nodes if step.after is None}
    return change.changed(
        touched=frozenset(touched),
        removed=frozenset(removed),
        transitions=tuple(transitions),
    )


def _is_seen(step: Step[Declaration], state: State) -> bool:
    """Return whether readers see a difference. Expecting exactly the known instances makes none."""
    known = Counter(key.role for key in state.of_plugin(step.some.key))
    if not known and None in (step.before, step.after):
        return True  # the plugin itself comes or goes
    before, after = (each.expected if each else {} for each in (step.before, step.after))
    roles = before.keys() | after.keys()
    return any(before.get(r, known[r]) != after.get(r, known[r]) for r in roles)


def _plugins_gone(
    plugins: Iterable[PluginKey], change: Change, state: State
) -> Iterable[PluginKey]:
    """Yield the plugins that are in no report and no declaration after the change."""
    growth: Counter[PluginKey] = Counter()
    for step in change.instances:
        if grown := (step.after is not None) - (step.before is not None):
            growth[step.some.key.plugin] += grown
    declared = {step.some.key: step.after for step in change.declarations}
    for key in plugins:
        is_declared = declared.get(key, state.declarations.get(key)) is not None
        if not is_declared and len(state.of_plugin(key)) + growth[key] == 0:
            yield key


def _shown(instance: Instance | None, node: Node | None) -> Fingerprint | None:
    return None if instance is None or node is None else seen(instance, node)


def _label(shown: Fingerprint | None, node: Node | None) -> str:
    """Return what readers see of a node in an instance's allocation: its name."""
    return node.name if node and shown and shown.allocation else ""
