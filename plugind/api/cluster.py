"""The cluster as Nomad's tools see it: its leader, peers, regions, namespaces and node pools.

It has one server, in one region, with the namespace and the node pools that Nomad always has.
"""

from __future__ import annotations

from dataclasses import dataclass

from plugind import filtering
from plugind.acl import Authorizer, Decision
from plugind.api.endpoints import (
    Asked,
    Call,
    Endpoints,
    Source,
    any_of,
    anyone,
    no_token,
    node_read,
    settled_list,
    settled_value,
)
from plugind.api.nomad_shapes import NamespaceSchema, NodePoolSchema
from plugind.api.reply import Reply, json_reply
from plugind.api.shapes import TEXT, TEXTS
from plugind.store.base import FIRST_INDEX

NAMESPACE = "default"

_NAMESPACES = NamespaceSchema(many=True)
_FIELDS = filtering.fields_of(NamespaceSchema())
_NAMED = NamespaceSchema()
_POOLS = NodePoolSchema(many=True)
_POOL_FIELDS = filtering.fields_of(NodePoolSchema())


@dataclass(frozen=True, slots=True)
class ClusterParts:
    """The parts that the cluster endpoints need: the server's HOST:PORT, and its region."""

    address: str
    region: str


endpoints = Endpoints(ClusterParts)


@endpoints("GET", "/v1/status/leader", need=no_token, answer=TEXT)
def leader(call: Call[ClusterParts]) -> Reply:
    """Name the server that answers."""
    return json_reply(call.parts.address)


@endpoints("GET", "/v1/status/peers", need=no_token, answer=TEXTS)
def peers(call: Call[ClusterParts]) -> Reply:
    """Name all servers."""
    return json_reply([call.parts.address])


@endpoints("GET", "/v1/regions", need=no_token, answer=TEXTS)
def regions(call: Call[ClusterParts]) -> Reply:
    """Name the region."""
    return json_reply([call.parts.region])


@endpoints.read("/v1/namespaces", need=anyone, answer=_NAMESPACES)
def namespaces(call: Call[ClusterParts]) -> Source:
    """List the namespace; the list is empty for callers without any rights to plugins in it."""
    has_rights = _may_know_namespace(call.authorizer, call.asked).allowed
    return settled_list([_NAMESPACE] if has_rights else [], _NAMESPACES, _FIELDS)


def _may_know_namespace(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require the right to list, read or register plugins of any type in the namespace
    `default`."""
    may = authorizer.may_list, authorizer.may_read, authorizer.may_register
    return any_of(decide(type_, NAMESPACE) for type_ in asked.types for decide in may)


@endpoints.read("/v1/namespace/<namespace>", need=_may_know_namespace, answer=_NAMED, errors=(404,))
def read_namespace(call: Call[ClusterParts], namespace: str) -> Source:
    """Read one namespace; there is only `default`."""
    found = _NAMED.dump(_NAMESPACE) if namespace == NAMESPACE else None
    return settled_value(found, "Namespace not found")


@endpoints.read("/v1/node/pools", need=node_read, answer=_POOLS)
def node_pools(call: Call[ClusterParts]) -> Source:
    """List the two node pools that Nomad always has; every node is in both."""
    return settled_list(_NODE_POOLS, _POOLS, _POOL_FIELDS)


_NAMESPACE = {
    "Name": NAMESPACE,
    "Description": "Default shared namespace",
    "Hash": "",
    "CreateIndex": FIRST_INDEX,
    "ModifyIndex": FIRST_INDEX,
}

_NODE_POOLS = [
    {
        "Name": name,
        "Description": description,
        "CreateIndex": FIRST_INDEX,
        "ModifyIndex": FIRST_INDEX,
    }
    for name, description in (
        ("all", "Node pool with all nodes in the cluster."),
        ("default", "Default node pool."),
    )
]
