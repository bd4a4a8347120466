"""Checks that a store's contents fit together: each resource has a stamp, each instance a node."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from plugind.model import NODES, PluginKey, is_list, node_of, plugins_of
from plugind.store.base import Contents


def faults(contents: Contents) -> Iterator[str]:
    """Yield the contradictions in the contents, a line each."""
    nodes = {node.id for node in contents.nodes}
    strays, forgotten = (
        {"/".join(one.key) for one in found if one.key.node_id not in nodes}
        for found in (contents.instances, contents.forgotten)
    )
    kept = {secret.node_id for secret in contents.kept_secrets} & nodes
    ahead = {
        resource
        for resource, stamp in contents.stamps.items()
        if not 0 < stamp.create_index <= stamp.modify_index <= contents.index
    }
    there, lists = _resources(contents)
    stamped = contents.stamps.keys()
    yield from _fault("instances have no node", strays)
    yield from _fault("forgotten instances have no node", forgotten)
    yield from _fault("kept secrets are of nodes that exist", kept)
    yield from _fault("stamps are ahead", ahead)
    yield from _fault("resources have no stamp", (there | lists) - stamped)
    yield from _fault(
        "stamps are of nothing", {each for each in stamped - there if not is_list(each)}
    )


def _resources(contents: Contents) -> tuple[set[str], set[str]]:
    """Return the resources of all nodes and plugins, and the lists that contain them."""
    plugins = {PluginKey(*names) for names in {one.key[1:3] for one in contents.instances}}
    plugins |= {declaration.key for declaration in contents.declarations}
    nodes = {node_of(node.id) for node in contents.nodes}
    lists = {plugins_of(key.type) for key in plugins} | ({NODES} if nodes else set())
    return nodes | {key.resource for key in plugins}, lists


def _fault(wrong: str, found: Collection[str]) -> Iterator[str]:
    if found:
        yield f"{len(found)} {wrong}, the first {min(found)!a}"
