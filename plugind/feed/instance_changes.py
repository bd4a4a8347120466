"""Derives the arguments of hooks from the transitions of a change."""

from __future__ import annotations

from collections.abc import Iterator

from plugind.model import (
    APPEARED,
    CAME,
    FLAPPING,
    HEALTHY,
    LEFT,
    UNHEALTHY,
    WENT,
    Change,
    InstanceChange,
    InstanceKey,
    Transition,
    seen,
)
from plugind.state import State


def instance_changes(change: Change, old: State, new: State) -> Iterator[InstanceChange]:
    """Yield what becomes of instances. ``old`` and ``new`` are states before and after the change;
    they have the full text of reasons that transitions cut short."""
    for row in change.transitions:
        if kind := _kind(row):
            key = InstanceKey(row.node_id, row.type, row.id, row.role)
            reason = _reason(key, row, old if kind == WENT else new)
            names = row.type, row.id, row.role, row.node_id, row.node
            yield InstanceChange(kind, *names, row.healthy, reason)


def _kind(row: Transition) -> str | None:
    """Return the kind that hooks have for a transition; None if they are not called for it."""
    if row.kind in (APPEARED, LEFT) or (row.kind == FLAPPING and not (row.before and row.after)):
        return WENT if row.is_gone else CAME
    if row.kind not in (HEALTHY, UNHEALTHY, FLAPPING):
        return None
    is_same = (row.before == HEALTHY) is (row.after == HEALTHY)
    return None if is_same else HEALTHY if row.after == HEALTHY else UNHEALTHY


def _reason(key: InstanceKey, row: Transition, state: State) -> str:
    instance, node = state.instance(key), state.nodes.get(key.node_id)
    if instance is None or node is None:
        return row.reason
    text = seen(instance, node).description
    return text if row.kind == LEFT or text.startswith(row.reason) else row.reason
