"""The names of plugins, instances and resources."""

from __future__ import annotations

from typing import NamedTuple

NODES = "nodes"
SETTLED = "settled"
HISTORY = "history"
"""The resource that every transition touches. Its index is derived: no stamp is stored."""

_NODE = "node/"


def plugins_of(type: str) -> str:
    """Return the resource that is the list of a type's plugins."""
    return f"plugins/{type}"


def node_of(node_id: str) -> str:
    """Return the resource that is one node."""
    return f"{_NODE}{node_id}"


def node_id_of(resource: str) -> str:
    """Return the node ID in the resource of a node; "" for any other resource."""
    return resource.removeprefix(_NODE) if resource.startswith(_NODE) else ""


def history_of(key: PluginKey) -> str:
    """Return the resource that the transitions of one plugin touch, including those that do not
    show in the plugin itself."""
    return f"{HISTORY}/{key.type}/{key.id}"


def is_history(resource: str) -> bool:
    """Return whether a resource is the whole history, or that of one plugin."""
    return resource == HISTORY or resource.startswith(f"{HISTORY}/")


def is_list(resource: str) -> bool:
    """Return whether a resource is a list, which always exists, even when it is empty."""
    return resource in (NODES, HISTORY) or resource.startswith(plugins_of(""))


class PluginKey(NamedTuple):
    """Identifies one plugin: the name of its type, and its ID."""

    type: str
    id: str

    @property
    def resource(self) -> str:
        return f"plugin/{self.type}/{self.id}"


class InstanceKey(NamedTuple):
    """Identifies one instance: a plugin in one of its type's roles on one node."""

    node_id: str
    type: str
    id: str
    role: str

    @property
    def plugin(self) -> PluginKey:
        return PluginKey(self.type, self.id)
