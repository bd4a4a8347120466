"""The values that flow through plugind: all frozen, none knows how it is stored or shown.

Times are integers, nanoseconds since the Unix epoch, in UTC. A resource is what can be read and
waited for, named by its path: ``plugin/TYPE/ID``, ``plugins/TYPE``, ``node/NODE_ID``, ``nodes``.
A resource that only configuration files decide is ``settled``: no change touches it. ``history``
and ``history/TYPE/ID`` are touched by transitions.
"""

from plugind.model.changes import (
    APPEARED,
    CAME,
    EXPECTED,
    FLAPPING,
    HEALTHY,
    LEFT,
    NODE_DOWN,
    NODE_UP,
    REASON,
    UNHEALTHY,
    VERSION,
    WENT,
    CatalogueChange,
    Change,
    Committed,
    HistoryQuery,
    InstanceChange,
    Stamp,
    Step,
    StoredTransition,
    Transition,
)
from plugind.model.contact import IN_CONTACT, Contact
from plugind.model.instances import (
    Allocation,
    Declaration,
    Fingerprint,
    Forgotten,
    Instance,
    Lost,
    description_or_default,
)
from plugind.model.keys import (
    HISTORY,
    NODES,
    SETTLED,
    InstanceKey,
    PluginKey,
    history_of,
    is_history,
    is_list,
    node_id_of,
    node_of,
    plugins_of,
)
from plugind.model.nodes import DOWN, NODE_CLASS, READY, Beat, KeptSecret, Node, Run
from plugind.model.scopes import scopes_of
from plugind.model.sessions import Session
from plugind.model.shown_health import seen

__all__ = [
    "APPEARED",
    "CAME",
    "DOWN",
    "EXPECTED",
    "FLAPPING",
    "HEALTHY",
    "HISTORY",
    "IN_CONTACT",
    "LEFT",
    "NODES",
    "NODE_CLASS",
    "NODE_DOWN",
    "NODE_UP",
    "READY",
    "REASON",
    "SETTLED",
    "UNHEALTHY",
    "VERSION",
    "WENT",
    "Allocation",
    "Beat",
    "CatalogueChange",
    "Change",
    "Committed",
    "Contact",
    "Declaration",
    "Fingerprint",
    "Forgotten",
    "HistoryQuery",
    "Instance",
    "InstanceChange",
    "InstanceKey",
    "KeptSecret",
    "Lost",
    "Node",
    "PluginKey",
    "Run",
    "Session",
    "Stamp",
    "Step",
    "StoredTransition",
    "Transition",
    "description_or_default",
    "history_of",
    "is_history",
    "is_list",
    "node_id_of",
    "node_of",
    "plugins_of",
    "scopes_of",
    "seen",
]
