"""``/v1/nodes`` and ``/v1/node/NODE_ID``, with the reports and heartbeats that agents PUT there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache

from plugind import filtering
from plugind.acl import Authorizer, Decision
from plugind.acl.authorizer import ALLOWED, ANY_NAMESPACE
from plugind.api.denials import denied
from plugind.api.endpoints import (
    LARGE_BODY,
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
from plugind.api.request import Pause, Steps
from plugind.api.rows import Beyond
from plugind.api.shapes import (
    FLAG,
    FORGOTTEN,
    TEXT,
    AcceptedSchema,
    RejectedSchema,
    node_body,
    report_body,
)
from plugind.catalogue import Catalogue
from plugind.client import NODE_SECRET_HEADER
from plugind.errors import (
    BadRequest,
    Busy,
    Forbidden,
    LimitReached,
    NotFound,
    ReportInWork,
    StoreError,
    UnknownOutcome,
)
from plugind.feed.liveness import Liveness
from plugind.health import Hits
from plugind.intake import Accepted, Intake
from plugind.intake.admission import LARGE_BYTES, Admission, Entry
from plugind.intake.fair_queue import LARGE
from plugind.metrics.probes import ProbeCounter
from plugind.model import NODES, node_of
from plugind.model.times import SECOND
from plugind.schemas.allocations import NodeAllocationSchema
from plugind.schemas.nodes import (
    HeartbeatSchema,
    NodeRowSchema,
    NodeSchema,
    NodeStubSchema,
    ReportSchema,
    Wanted,
    instances_in,
    load,
    load_quickly,
)
from plugind.schemas.plugins import PluginSchemas
from plugind.tally import Tally
from plugind.wire.texts import is_node_id

NOT_FOUND = "node not found"

_REPORT = ReportSchema()
_HEARTBEAT = HeartbeatSchema()
_ACCEPTED = AcceptedSchema()
_REJECTED = RejectedSchema(many=True)
_STUB_NAMES = frozenset(filtering.fields_of(NodeStubSchema()).by_name)
_ALLOCATION_FIELDS = filtering.fields_of(NodeAllocationSchema())
_WRITE_ERRORS = (400, 413, 503)
_TEXT_GIVEN = {**TEXT, "minLength": 1, "example": "drawn-at-random"}
_SECRET = {
    NODE_SECRET_HEADER: Given(
        "proves who the node is; the first report pins it", _TEXT_GIVEN, required=True
    )
}


@dataclass(frozen=True, slots=True)
class NodeParts:
    """The parts that the node endpoints need. ``fields`` are those of a whole node. ``rejected``
    counts the rejected items of reports, by plugin type, and ``probes`` counts the probes that
    agents report.
    """

    catalogue: Catalogue
    intake: Intake
    admission: Admission
    liveness: Liveness
    hits: Hits
    fields: filtering.Fields
    rejected: Tally
    probes: ProbeCounter


endpoints = Endpoints(NodeParts)


def _may_register(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require the capability `TYPE-register-plugin` in any namespace, or the `node` policy `write`.

    A heartbeat needs it for at least one type. A report needs it for each type that it contains:
    the answer lists the types that the token may not register. A report with no other types is
    refused.
    """
    decisions = [authorizer.may_register(type_, ANY_NAMESPACE) for type_ in asked.types]
    return any_of([*decisions, authorizer.may_write_nodes()])


def _may_forget(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require the node's secret, or a management token."""
    return ALLOWED if asked.shows_secret else authorizer.may_manage()


def fields_of_nodes(schemas: Iterable[PluginSchemas]) -> filtering.Fields:
    """Return the fields that a filter of nodes may use: all that a read shows, with instances."""
    parts = [NodeSchema(), *(each.node_maps for each in schemas)]
    fields = [filtering.fields_of(part).by_name for part in parts]
    return filtering.Fields({name: kind for each in fields for name, kind in each.items()})


@endpoints.read(
    "/v1/nodes",
    need=node_read,
    answer=NodeRowSchema(many=True),
    parameters={
        "os": Given("true adds the attributes of the operating system", FLAG),
        "resources": Given("true adds the node's resources", FLAG),
    },
)
def list_nodes(call: Call[NodeParts]) -> Source:
    """List the nodes."""
    wanted = Wanted(read_flag(call.asked.query, "os"), read_flag(call.asked.query, "resources"))
    catalogue, fields = call.parts.catalogue, call.parts.fields
    beyond = Beyond(frozenset(fields.by_name) - _STUB_NAMES, catalogue.node_field)
    return Source(NODES, lambda: catalogue.nodes(wanted), fields=fields, beyond=beyond)


@endpoints.read("/v1/node/<node_id>", need=node_read, answer=node_body, errors=(404,))
def read_node(call: Call[NodeParts], node_id: str) -> Source:
    """Read one node with all its instances."""
    catalogue = call.parts.catalogue
    return Source(node_of(node_id), lambda: catalogue.node(node_id), NOT_FOUND)


@endpoints.read(
    "/v1/node/<node_id>/allocations", need=node_read, answer=NodeAllocationSchema(many=True)
)
def list_allocations(call: Call[NodeParts], node_id: str) -> Source:
    """List the processes behind a node's instances; none if the node does not exist."""
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
    body_maximum=LARGE_BODY,
    check_size=lambda call, size: call.parts.admission.check_size(
        call.holder, call.asked.path["node_id"], size
    ),
    headers=_SECRET,
    errors=(*_WRITE_ERRORS, 429),
    decided_later="the right to register one of the plugin types that the report has",
)
def report(call: Call[NodeParts], node_id: str) -> Steps[Reply]:
    """Accept a node's whole report; only agents call this."""
    secret = _checked_secret(call, node_id)
    parts, accessor = call.parts, call.asked.caller.accessor
    parts.intake.check_secret(node_id, secret)
    try:
        with parts.admission.entered(call.holder, node_id, secret, call.request.has_left) as entry:
            accepted, run = yield from _take(call, node_id, secret, entry)
    except LimitReached as error:
        parts.hits.add(error.limit, node_id=node_id, accessor=accessor)
        raise
    except (StoreError, Busy, ReportInWork, UnknownOutcome):
        if parts.catalogue.has_node(node_id):
            parts.liveness.beat(node_id)  # the agent lives, whatever becomes of the report
        raise
    for item in accepted.rejected:
        parts.rejected.add((item.type if item.type in call.asked.types else "",))
    if limits := {item.limit for item in accepted.rejected if item.limit}:
        for limit in limits:
            parts.hits.add(limit, node_id=node_id, accessor=accessor)
        # There may be room next time, so the next heartbeat must lead to another whole report.
        accepted = replace(accepted, digest="")
    return (yield from _heard_of(call, node_id, accepted, run))


def _take(
    call: Call[NodeParts], node_id: str, secret: str, entry: Entry
) -> Steps[tuple[Accepted, str]]:
    """Process the report in the body, whose parsed form is freed on return. Return the answer, and
    the RunID of the report's agent."""
    if call.request.content_length > LARGE_BYTES:
        yield from _become_large(call, entry)
    given = load(_REPORT, call.document())
    if instances_in(given.plugins) >= LARGE:
        yield from _become_large(call, entry)
    refused, accessor = _not_permitted(call, given.plugins), call.asked.caller.accessor
    parts, holder = call.parts, call.holder
    pending = parts.intake.begin(node_id, secret, given, refused, accessor, holder)
    if entry.is_large:  # its breaks belong to this thread, so it waits here
        accepted = pending.result(pending.timeout)
    else:
        signal = call.signal()
        pending.when_done(lambda _: signal.set())
        yield Pause(signal, pending.timeout, keeps_place=True)
        accepted = pending.result(0.0)
    parts.probes.hear(node_id, given.run_id, given.probes)
    return accepted, given.run_id


def _become_large(call: Call[NodeParts], entry: Entry) -> Steps[None]:
    """Continue a report as a large one, if it is not one yet, when its turn comes. Raise Busy."""
    if not entry.is_large:
        yield from _before_long(call)
        entry.become_large()


def _before_long(call: Call[NodeParts]) -> Steps[None]:
    """Continue in a thread where work may take long or block."""
    signal = call.signal()
    signal.set()
    yield Pause(signal, is_before_long=True, keeps_place=True)


@endpoints(
    "PUT",
    "/v1/node/<node_id>/heartbeat",
    need=_may_register,
    answer=_ACCEPTED,
    body=_HEARTBEAT,
    headers=_SECRET,
    errors=(*_WRITE_ERRORS, 409),
)
def heartbeat(call: Call[NodeParts], node_id: str) -> Steps[Reply]:
    """Keep a node alive, or bring it back; 409 asks for the whole report."""
    # The code before the first pause may run in a server's event loop, so it must not block.
    secret = _checked_secret(call, node_id)
    document = call.document()
    beat = load_quickly(_HEARTBEAT, document)
    if beat is None:
        yield from _before_long(call)
        beat = load(_HEARTBEAT, document)
    digest, _, known = beat["Digest"].rpartition(".")
    if known != _rights(call):  # other rights accept other parts of the report
        digest = ""
    accepted = call.parts.intake.heartbeat_at_once(node_id, secret, digest, beat["RunID"])
    if accepted is None:
        yield from _before_long(call)
        accepted = call.parts.intake.heartbeat(node_id, secret, digest, beat["RunID"])
    call.parts.probes.hear(node_id, beat["RunID"], beat["Probes"])
    if not call.parts.catalogue.contact.is_known:
        call.parts.liveness.beat(node_id, beat["RunID"])
        raise StoreError(
            "this server cannot reach its store, where other servers look for heartbeats: send "
            "them to another server"
        )
    return (yield from _heard_of(call, node_id, accepted, beat["RunID"]))


@endpoints(
    "DELETE",
    "/v1/node/<node_id>",
    need=_may_forget,
    answer=FORGOTTEN,
    headers={NODE_SECRET_HEADER: Given("the node's secret")},
    errors=(404, 429, 503),
)
def forget_node(call: Call[NodeParts], node_id: str) -> Reply:
    """Forget a node and its instances.

    With only the node's secret, the node itself leaves, and its ID stays reserved for the agent
    with that secret for `server.node_secret_keep`. A management token frees the ID, even if the
    node was removed before.
    """
    secret = call.request.header(NODE_SECRET_HEADER)
    proof = None if call.authorizer.may_manage().allowed else secret
    try:
        with ExitStack() as until_end:
            if proof is not None:
                call.parts.intake.check_secret(node_id, proof)
                until_end.enter_context(call.parts.admission.entered(call.holder, node_id, proof))
            return json_reply({"Index": call.parts.intake.forget_node(node_id, proof, call.holder)})
    except (NotFound, Forbidden) as error:
        if _may_register(call.authorizer, call.asked).allowed:
            raise
        # A caller that may not report must not learn which nodes exist.
        raise denied(_may_forget, call.asked) from error


@endpoints(
    "DELETE", "/v1/node/<node_id>/secret", need=management, answer=FORGOTTEN, errors=(404, 503)
)
def unpin_secret(call: Call[NodeParts], node_id: str) -> Reply:
    """Unpin a node's secret: the next report pins a new one.

    If the node was removed, this frees its ID.
    """
    return json_reply({"Index": call.parts.intake.unpin(node_id)})


def _heard_of(call: Call[NodeParts], node_id: str, accepted: Accepted, run: str) -> Steps[Reply]:
    """Note that a node was heard from, and return the answer to its report or heartbeat."""
    if (connection := call.request.connection) is not None:
        connection.verified_node()
    ttl, was_late = call.parts.liveness.beat(node_id, run)
    if was_late:
        yield from _before_long(call)
        if index := call.parts.intake.back(node_id):
            accepted = replace(accepted, index=index)
    return json_reply(
        {
            "Index": accepted.index,
            "HeartbeatTTL": round(ttl * SECOND),
            "Digest": f"{accepted.digest}.{_rights(call)}",
            "Rejected": _REJECTED.dump(accepted.rejected) if accepted.rejected else [],
        }
    )


def _rights(call: Call[NodeParts]) -> str:
    """Return a digest of the types that the call may register; a report's effect depends on it."""
    refused = _refused(call, call.asked.types)
    return _digest_of(tuple(sorted(set(call.asked.types) - refused)))


@lru_cache(maxsize=256)
def _digest_of(types: tuple[str, ...]) -> str:
    return hashlib.blake2b(repr([*types]).encode(), digest_size=4).hexdigest()


def _not_permitted(call: Call[NodeParts], plugins: Mapping[str, object]) -> frozenset[str]:
    """Return the types of a report that its token may not register. Raise Forbidden if the token
    may register none of the report's types that the server has."""
    known = [name for name in plugins if name in call.asked.types]
    refused = _refused(call, known)
    if known and len(refused) == len(known):
        raise denied(_may_register, call.asked, known)
    return refused


def _refused(call: Call[NodeParts], types: Iterable[str]) -> frozenset[str]:
    may = call.authorizer.may_register
    return frozenset(name for name in types if not may(name, ANY_NAMESPACE).allowed)


def _checked_secret(call: Call[NodeParts], node_id: str) -> str:
    secret = call.request.header(NODE_SECRET_HEADER)
    if not secret:
        raise BadRequest(f"{NODE_SECRET_HEADER}: the header is missing")
    if not is_node_id(node_id):
        raise BadRequest("node ID: must be a UUID of 36 characters in lower case")
    return secret
