"""The scopes of a change: the parts of the state that its plan depends on, and those it changes.

A scope is ``node/NODE_ID`` (everything that is stored for a node: the node itself, its instances,
forgotten marks, a kept secret), ``plugin/TYPE/ID`` (which instances and declaration a plugin has),
``declarations``, or ``sessions``.
"""

from __future__ import annotations

from typing import NamedTuple

from plugind.model.changes import Change
from plugind.model.keys import node_of

DECLARATIONS = "declarations"
SESSIONS = "sessions"


class Scopes(NamedTuple):
    """``reads`` must not have been written since the change was planned."""

    reads: frozenset[str]
    writes: frozenset[str]


def scopes_of(change: Change) -> Scopes:
    """Return the scopes that follow from a change's steps.

    An instance that appears for a plugin does not read the plugin's scope: if another writer
    removes the plugin meanwhile, the instance creates it again. An instance that leaves does read
    it, because whether the plugin is gone depends on its other instances. An instance that only
    changes does not concern the plugin's scope.
    """
    node_ids = {step.some.id for step in change.nodes}
    node_ids |= {step.some.key.node_id for step in change.instances}
    node_ids |= {step.some.key.node_id for step in change.forgotten}
    node_ids |= {step.some.node_id for step in change.kept_secrets}
    reads = {node_of(node_id) for node_id in node_ids}
    appeared = set()
    for step in change.instances:
        if step.after is None:
            reads.add(step.some.key.plugin.resource)
        elif step.before is None:
            appeared.add(step.some.key.plugin.resource)
    if change.sessions:
        reads.add(SESSIONS)  # their number is bounded
    if change.declarations:
        reads |= {DECLARATIONS, *(step.some.key.resource for step in change.declarations)}
    return Scopes(frozenset(reads), frozenset(reads | appeared))
