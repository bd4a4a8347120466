"""``/v1/nodes``, ``/v1/node/NODE_ID``, and how agents report: PUT on the node and its heartbeat."""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, request
from marshmallow import Schema, fields

from plugind import strict_json
from plugind.api.query import read_query
from plugind.api.reads import read
from plugind.api.reply import Reply, json_reply, replies
from plugind.catalogue import Catalogue
from plugind.client import NODE_SECRET_HEADER
from plugind.errors import BadRequest, StoreError, TooLarge
from plugind.fields import SECOND, is_node_id
from plugind.intake import Accepted, Intake
from plugind.liveness import Liveness
from plugind.model import NODES, node_of
from plugind.node_schemas import HeartbeatSchema, ReportSchema, load

NOT_FOUND = "node not found"
BODY_MAXIMUM = 8 * 2**20

_REPORT = ReportSchema()
_HEARTBEAT = HeartbeatSchema()


class RejectedSchema(Schema):
    """One item of a report that was not taken."""

    Type = fields.String(attribute="type")
    ID = fields.String(attribute="id")
    Role = fields.String(attribute="role")
    Field = fields.String(attribute="field")
    Reason = fields.String(attribute="reason")


class AcceptedSchema(Schema):
    """The answer to a report or heartbeat; HeartbeatTTL is in nanoseconds."""

    Index = fields.Integer(attribute="index")
    Digest = fields.String(attribute="digest")
    Rejected = fields.List(fields.Nested(RejectedSchema), attribute="rejected")


_ACCEPTED = AcceptedSchema()


def nodes_blueprint(
    catalogue: Catalogue, intake: Intake, liveness: Liveness, region: str
) -> Blueprint:
    """Lists, reads and forgets nodes, and takes what their agents send."""
    blueprint = Blueprint("nodes", __name__)

    def heard_of(node_id: str, accepted: Accepted) -> Reply:
        ttl, was_late = liveness.beat(node_id)
        if was_late:
            accepted = replace(accepted, index=intake.back(node_id))
        return json_reply({**_ACCEPTED.dump(accepted), "HeartbeatTTL": round(ttl * SECOND)})

    @blueprint.get("/v1/nodes")
    @replies
    def list_nodes() -> Reply:
        return read(catalogue, read_query(region), NODES, catalogue.nodes, NOT_FOUND)

    @blueprint.get("/v1/node/<node_id>")
    @replies
    def read_node(node_id: str) -> Reply:
        query = read_query(region)
        return read(catalogue, query, node_of(node_id), lambda: catalogue.node(node_id), NOT_FOUND)

    @blueprint.put("/v1/node/<node_id>")
    @replies
    def report(node_id: str) -> Reply:
        secret = _secret()
        _check(node_id)
        document = load(_REPORT, _document())
        try:
            return heard_of(node_id, intake.report(node_id, secret, document))
        except StoreError:
            if catalogue.has_node(node_id):
                liveness.beat(node_id)  # it is not silent, though nothing can be written of it
            raise

    @blueprint.put("/v1/node/<node_id>/heartbeat")
    @replies
    def heartbeat(node_id: str) -> Reply:
        secret = _secret()
        _check(node_id)
        beat = load(_HEARTBEAT, _document())
        return heard_of(node_id, intake.heartbeat(node_id, secret, beat["Digest"], beat["RunID"]))

    @blueprint.delete("/v1/node/<node_id>")
    @replies
    def forget_node(node_id: str) -> Reply:
        return json_reply({"Index": intake.forget_node(node_id)})

    return blueprint


def _check(node_id: str) -> None:
    if not is_node_id(node_id):
        raise BadRequest("node ID: must be a UUID of 36 characters in lower case")


def _secret() -> str:
    secret = request.headers.get(NODE_SECRET_HEADER, "")
    if not secret:
        raise BadRequest(f"{NODE_SECRET_HEADER}: the header is missing")
    return secret


def _document() -> object:
    """The request's body, as JSON. Raises BadRequest and TooLarge."""
    body = request.stream.read(BODY_MAXIMUM + 1)
    if len(body) > BODY_MAXIMUM:
        raise TooLarge(f"the body is larger than {BODY_MAXIMUM} bytes")
    return strict_json.parse(body)
