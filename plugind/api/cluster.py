"""What Nomad's tools ask of a cluster: its leader, peers, regions and namespaces.

Here it is one server, in one region, with the namespace that Nomad always has.
"""

from __future__ import annotations

from plugind import filtering
from plugind.api.endpoints import Call, Endpoints, Source, any_of, anyone, no_token, settled_list
from plugind.api.nomad_shapes import NamespaceSchema
from plugind.api.reply import Reply, json_reply
from plugind.api.shapes import TEXT, TEXTS
from plugind.store.base import FIRST_INDEX

NAMESPACE = "default"

_NAMESPACES = NamespaceSchema(many=True)
_FIELDS = filtering.fields_of(NamespaceSchema())

endpoints = Endpoints()


@endpoints("GET", "/v1/status/leader", need=no_token, answer=TEXT)
def leader(call: Call) -> Reply:
    """Name the server that answers."""
    return json_reply(call.parts.address)


@endpoints("GET", "/v1/status/peers", need=no_token, answer=TEXTS)
def peers(call: Call) -> Reply:
    """Name all servers."""
    return json_reply([call.parts.address])


@endpoints("GET", "/v1/regions", need=no_token, answer=TEXTS)
def regions(call: Call) -> Reply:
    """Name the region."""
    return json_reply([call.parts.settings.region])


@endpoints.read("/v1/namespaces", need=anyone, answer=_NAMESPACES)
def namespaces(call: Call) -> Source:
    """List the namespace, to those who may do anything with plugins in it."""
    return settled_list([_NAMESPACE] if _has_rights(call) else [], _NAMESPACES, _FIELDS)


def _has_rights(call: Call) -> bool:
    may = call.authorizer
    return any_of(
        decide(type_, NAMESPACE)
        for type_ in call.parts.registry.types
        for decide in (may.may_list, may.may_read, may.may_register)
    ).allowed


_NAMESPACE = {
    "Name": NAMESPACE,
    "Description": "Default shared namespace",
    "Hash": "",
    "CreateIndex": FIRST_INDEX,
    "ModifyIndex": FIRST_INDEX,
}
