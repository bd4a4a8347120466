"""Whether what a store holds fits together: each thing has its stamp, each instance its node."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from plugind.model import NODES, is_list, node_of, plugins_of
from plugind.store.base import Contents


def faults(contents: Contents) -> Iterator[str]:
    """What does not fit, a line each; nothing where all is well."""
    nodes = {node.id for node in contents.nodes}
    strays = {"/".join(one.key) for one in contents.instances if one.key.node_id not in nodes}
    ahead = {
        resource
        for resource, stamp in contents.stamps.items()
        if not 0 < stamp.create_index <= stamp.modify_index <= contents.index
    }
    there, lists = _resources(contents)
    stamped = contents.stamps.keys()
    yield from _told("instances have no node", strays)
    yield from _told("stamps are ahead", ahead)
    yield from _told("resources have no stamp", (there | lists) - stamped)
    yield from _told(
        "stamps are of nothing", {each for each in stamped - there if not is_list(each)}
    )


def _resources(contents: Contents) -> tuple[set[str], set[str]]:
    """The things that there are, and the lists that they stand in."""
    plugins = {one.key.plugin for one in contents.instances}
    plugins |= {declaration.key for declaration in contents.declarations}
    nodes = {node_of(node.id) for node in contents.nodes}
    lists = {plugins_of(key.type) for key in plugins} | ({NODES} if nodes else set())
    return nodes | {key.resource for key in plugins}, lists


def _told(wrong: str, found: Collection[str]) -> Iterator[str]:
    if found:
        yield f"{len(found)} {wrong}, the first {min(found)!a}"
