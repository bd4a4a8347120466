"""Makes changes for the cases, with the scopes and resources that follow from their steps."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from plugind.model import (
    APPEARED,
    NODES,
    Change,
    Declaration,
    Fingerprint,
    Forgotten,
    Instance,
    InstanceKey,
    KeptSecret,
    Node,
    PluginKey,
    Session,
    Step,
    Transition,
    node_of,
    plugins_of,
    scopes_of,
)
from plugind.store.base import FIRST_INDEX, Outcome, Store

NOW = -1
"""As the base of a change: ``commit`` replaces it by the current index of the store."""

TIME = 1_800_000_000_000_000_000
"""The time of changes that set no other, in nanoseconds."""


def node_id(number: int) -> str:
    return f"b0af9003-b888-43e3-8e2c-{number:012d}"


def node(number: int = 1, **values: Any) -> Node:
    return Node(node_id(number), f"vm{number}", secret_hash="h").changed(**values)


def instance(
    number: int = 1, plugin: str = "ebs", *, healthy: bool = True, **details: Any
) -> Instance:
    key = InstanceKey(node_id(number), "sample", plugin, "node")
    return Instance(key, Fingerprint(healthy, "fine", 7, "a", details), "d")


def declaration(plugin: str = "declared", **expected: int) -> Declaration:
    return Declaration(PluginKey("sample", plugin), expected or {"node": 3})


def forgotten(number: int = 1, plugin: str = "lost") -> Forgotten:
    return Forgotten(InstanceKey(node_id(number), "sample", plugin, "node"), 5, True)


def kept_secret(number: int = 9) -> KeptSecret:
    return KeptSecret(node_id(number), "hash", "accessor", 3)


def session(number: int = 1) -> Session:
    return Session(f"key {number}", "accessor", "token", 3, 9)


def put(*values: Any, base: int = NOW, time: int = TIME, **more: Any) -> Change:
    """Return a change that adds values."""
    return change([Step(None, each) for each in values], base=base, time=time, **more)


def drop(*values: Any, base: int = NOW, time: int = TIME, **more: Any) -> Change:
    """Return a change that removes values, and with them their resources."""
    return change([Step(each, None) for each in values], base=base, time=time, **more)


def swap(before: Any, after: Any, base: int = NOW, time: int = TIME, **more: Any) -> Change:
    return change([Step(before, after)], base=base, time=time, **more)


def change(steps: Iterable[Step[Any]], *, base: int = NOW, time: int = TIME, **more: Any) -> Change:
    """Return the change that the steps make, planned on the state at index ``base``."""
    by_kind: dict[type[Any], list[Step[Any]]] = {}
    for step in steps:
        by_kind.setdefault(type(step.some), []).append(step)
    nodes, instances, declarations, marks, secrets, sessions = (
        tuple(by_kind.get(kind, ()))
        for kind in (Node, Instance, Declaration, Forgotten, KeptSecret, Session)
    )
    touched = {node_of(step.some.id) for step in nodes}
    gone = {node_of(step.some.id) for step in nodes if step.after is None}
    if nodes:
        touched.add(NODES)
    for step in instances:
        touched |= {step.some.key.plugin.resource, plugins_of(step.some.key.type)}
        if step.after is None:
            gone.add(step.some.key.plugin.resource)
    for step in declarations:
        touched |= {step.some.key.resource, plugins_of(step.some.key.type)}
        if step.after is None:
            gone.add(step.some.key.resource)
    made = Change(
        time,
        nodes,
        instances,
        declarations,
        frozenset(touched),
        frozenset(gone),
        marks,
        kept_secrets=secrets,
        sessions=sessions,
        id=uuid.uuid4().hex,
        base=base,
    )
    reads, writes = scopes_of(made)
    return made.changed(**{"reads": reads, "writes": writes, **more})


def transition(
    kind: str = APPEARED, plugin: str = "ebs", number: int = 1, **more: Any
) -> Transition:
    made = Transition(
        kind,
        TIME,
        TIME - 5,
        "sample",
        plugin,
        "node",
        node_id(number),
        f"vm{number}",
        "",
        "healthy",
        "fine",
        True,
    )
    return made.changed(**more)


def commit(store: Store, *changes: Change) -> list[int]:
    """Commit changes that must all succeed. Return their indexes."""
    base = store.load().index
    planned = [each.changed(base=base) if each.base == NOW else each for each in changes]
    return indexes(store.commit(planned))


def indexes(outcomes: Sequence[Outcome]) -> list[int]:
    found = [each for each in outcomes if isinstance(each, int)]
    assert len(found) == len(outcomes), outcomes
    return found


def last_index(store: Store) -> int:
    """Return the index of the last change in the store's log."""
    return max([FIRST_INDEX, *(each.index for each in store.read(FIRST_INDEX, 10_000))])
