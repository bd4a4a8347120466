"""``/v1/nodes``, ``/v1/node/NODE_ID``, and how agents report: PUT on the node and its heartbeat."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from flask import request

from plugind import filtering
from plugind.acl import Authorizer, Decision
from plugind.acl.authorizer import ALLOWED, ANY_NAMESPACE
from plugind.allocation_schemas import NodeAllocationSchema
from plugind.api.body import read_document
from plugind.api.endpoints import (
    Asked,
    Call,
    Endpoints,
    Given,
    Source,
    any_of,
    management,
    node_read,
)
from plugind.api.query import read_flag
from plugind.api.reply import Reply, json_reply
from plugind.api.shapes import (
    FLAG,
    FORGOTTEN,
    TEXT,
    AcceptedSchema,
    node_body,
    report_body,
)
from plugind.client import NODE_SECRET_HEADER
from plugind.errors import BadRequest, Forbidden, NotFound, StoreError
from plugind.fields import SECOND, is_node_id
from plugind.intake import Accepted
from plugind.model import NODES, node_of
from plugind.node_schemas import (
    HeartbeatSchema,
    NodeRowSchema,
    ReportSchema,
    Wanted,
    load,
    row_schema,
)

NOT_FOUND = "node not found"

_REPORT = ReportSchema()
_HEARTBEAT = HeartbeatSchema()
_ACCEPTED = AcceptedSchema()
_ROW_FIELDS = {wanted: filtering.fields_of(row_schema(wanted)) for wanted in Wanted.all()}
_ALLOCATION_FIELDS = filtering.fields_of(NodeAllocationSchema())
_WRITE_ERRORS = (400, 413, 503)
_TEXT_GIVEN = {**TEXT, "minLength": 1, "example": "drawn-at-random"}
_SECRET = {
    NODE_SECRET_HEADER: Given(
        "proves who the node is; the first report pins it", _TEXT_GIVEN, required=True
    )
}

endpoints = Endpoints()


def _may_register(authorizer: Authorizer, asked: Asked) -> Decision:
    """The capability `TYPE-register-plugin` in any namespace, or the `node` policy `write`.

    A heartbeat needs it for any type. A report needs it for each type that it has: those that the
    token may not register are told of in the answer, and a report of nothing else is refused.
    """
    decisions = [authorizer.may_register(type_, ANY_NAMESPACE) for type_ in asked.types]
    return any_of([*decisions, authorizer.may_write_nodes()])


def _may_forget(authorizer: Authorizer, asked: Asked) -> Decision:
    """The node's secret, or a management token."""
    return ALLOWED if asked.shows_secret else authorizer.may_manage()


@endpoints.read(
    "/v1/nodes",
    need=node_read,
    answer=NodeRowSchema(many=True),
    parameters={
        "os": Given("true adds the attributes that tell of the operating system", FLAG),
        "resources": Given("true adds the node's resources", FLAG),
    },
)
def list_nodes(call: Call) -> Source:
    """List the nodes."""
    wanted = Wanted(read_flag(call.asked.query, "os"), read_flag(call.asked.query, "resources"))
    catalogue = call.parts.catalogue
    return Source(NODES, lambda: catalogue.nodes(wanted), fields=_ROW_FIELDS[wanted])


@endpoints.read("/v1/node/<node_id>", need=node_read, answer=node_body, errors=(404,))
def read_node(call: Call, node_id: str) -> Source:
    """Read one node with all its instances."""
    catalogue = call.parts.catalogue
    return Source(node_of(node_id), lambda: catalogue.node(node_id), NOT_FOUND)


@endpoints.read(
    "/v1/node/<node_id>/allocations", need=node_read, answer=NodeAllocationSchema(many=True)
)
def list_allocations(call: Call, node_id: str) -> Source:
    """List the processes behind a node's instances; of a node that does not exist, none."""
    catalogue = call.parts.catalogue
    return Source(
        node_of(node_id), lambda: catalogue.allocations(node_id), fields=_ALLOCATION_FIELDS
    )


@endpoints(
    "PUT",
    "/v1/node/<node_id>",
    need=_may_register,
    answer=_ACCEPTED,
    body=report_body,
    headers=_SECRET,
    errors=_WRITE_ERRORS,
    decided_later="the right to register one of the plugin types that the report has",
)
def report(call: Call, node_id: str) -> Reply:
    """Take a node's whole report; only agents call this."""
    secret = _checked_secret(node_id)
    given = load(_REPORT, read_document())
    refused, parts = _not_permitted(call, given.plugins), call.parts
    try:
        accepted = parts.intake.report(node_id, secret, given, refused)
    except StoreError:
        if parts.catalogue.has_node(node_id):
            parts.liveness.beat(node_id)  # it is not silent, though nothing can be written of it
        raise
    return _heard_of(call, node_id, accepted)


@endpoints(
    "PUT",
    "/v1/node/<node_id>/heartbeat",
    need=_may_register,
    answer=_ACCEPTED,
    body=_HEARTBEAT,
    headers=_SECRET,
    errors=(*_WRITE_ERRORS, 409),
)
def heartbeat(call: Call, node_id: str) -> Reply:
    """Keep a node alive, or take it back; 409 asks for the whole report."""
    secret = _checked_secret(node_id)
    beat = load(_HEARTBEAT, read_document())
    digest, _, rights = beat["Digest"].rpartition(".")
    is_same = rights == _rights(call)  # else the whole report is taken, or refused, in part
    accepted = call.parts.intake.heartbeat(
        node_id, secret, digest if is_same else "", beat["RunID"]
    )
    return _heard_of(call, node_id, accepted)


@endpoints(
    "DELETE",
    "/v1/node/<node_id>",
    need=_may_forget,
    answer=FORGOTTEN,
    headers={NODE_SECRET_HEADER: Given("the node's secret")},
    errors=(404, 503),
)
def forget_node(call: Call, node_id: str) -> Reply:
    """Forget a node and its instances."""
    secret = request.headers.get(NODE_SECRET_HEADER, "")
    proof = None if call.authorizer.may_manage().allowed else secret
    try:
        return json_reply({"Index": call.parts.intake.forget_node(node_id, proof)})
    except (NotFound, Forbidden) as error:
        if _may_register(call.authorizer, call.asked).allowed:
            raise
        raise Forbidden("Permission denied") from error  # strangers learn of no node


@endpoints(
    "DELETE", "/v1/node/<node_id>/secret", need=management, answer=FORGOTTEN, errors=(404, 503)
)
def unpin_secret(call: Call, node_id: str) -> Reply:
    """Unpin a node's secret: the next report pins another."""
    return json_reply({"Index": call.parts.intake.unpin(node_id)})


def _heard_of(call: Call, node_id: str, accepted: Accepted) -> Reply:
    ttl, was_late = call.parts.liveness.beat(node_id)
    if was_late:
        accepted = replace(accepted, index=call.parts.intake.back(node_id))
    told = replace(accepted, digest=f"{accepted.digest}.{_rights(call)}")
    return json_reply({**_ACCEPTED.dump(told), "HeartbeatTTL": round(ttl * SECOND)})


def _rights(call: Call) -> str:
    """Identifies the types that may be registered: what was taken of a report depends on it."""
    types = sorted(call.parts.registry.types.keys() - _refused(call, call.parts.registry.types))
    return hashlib.blake2b(repr(types).encode(), digest_size=4).hexdigest()


def _not_permitted(call: Call, plugins: Mapping[str, object]) -> frozenset[str]:
    """The types of a report that its token may not register. Raises Forbidden when it may register
    none of those that there are."""
    known = [name for name in plugins if name in call.parts.registry.types]
    refused = _refused(call, known)
    if known and len(refused) == len(known):
        raise Forbidden("Permission denied")
    return refused


def _refused(call: Call, types: Iterable[str]) -> frozenset[str]:
    may = call.authorizer.may_register
    return frozenset(name for name in types if not may(name, ANY_NAMESPACE).allowed)


def _checked_secret(node_id: str) -> str:
    secret = request.headers.get(NODE_SECRET_HEADER, "")
    if not secret:
        raise BadRequest(f"{NODE_SECRET_HEADER}: the header is missing")
    if not is_node_id(node_id):
        raise BadRequest("node ID: must be a UUID of 36 characters in lower case")
    return secret
