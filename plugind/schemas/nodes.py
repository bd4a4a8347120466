"""The wire shapes of nodes, as agents report them and as Nomad's tools decode them.

Fields that only a scheduler could know have the values of a node that runs no jobs, because clients
dereference them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate, validates_schema

from plugind.errors import BadRequest
from plugind.model import Node
from plugind.model.probes import Probes
from plugind.model.times import SECOND
from plugind.schemas.allocations import NO_RESOURCES
from plugind.schemas.plugins import StampedSchema
from plugind.schemas.quick import Quick
from plugind.wire import addresses
from plugind.wire.fields import Record, Text, Whole
from plugind.wire.texts import tame

INSTANCES_MAXIMUM = 4096
"""Instances in one report."""

LABELS_MAXIMUM = 256
"""Entries of a node's attributes and meta together."""

LABELS_SIZE_MAXIMUM = 64 * 2**10
"""Bytes of these entries together, as UTF-8."""

META_MAXIMUM = 128
META_SIZE_MAXIMUM = 32 * 2**10
"""Bytes of an agent's configured meta, which leaves room for its attributes."""

META_KEY_MAXIMUM = 128
META_VALUE_MAXIMUM = 4096
NODE_CLASS_MAXIMUM = 128
ADDRESS_MAXIMUM = 260
REASONS_MAXIMUM = 16
TYPES_MAXIMUM = 256
NAME_MAXIMUM = 64
"""Characters of a name in a client's request that are shown."""

_REASON_MAXIMUM = 512
_SHARES = {"Cpu": {"CpuShares": 0}, "Memory": {"MemoryMB": 0}, "Disk": {"DiskMB": 0}}
_RESOURCES = {**_SHARES, "Networks": None, "Devices": None}
_RESERVED = {**_SHARES, "Networks": {"ReservedHostPorts": ""}}
_OS = "os."


@dataclass(frozen=True, slots=True)
class Report:
    """A node's whole report. Its envelope is validated; the contents of ``plugins`` and
    ``allocations`` are not validated yet.

    ``plugins`` is type -> plugin ID -> role -> fingerprint, with None for an instance that left on
    purpose; ``allocations`` describes, by ID, the processes that fingerprints name.
    """

    name: str
    datacenter: str = "dc1"
    version: str = ""
    run_id: str = ""
    address: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)
    node_class: str = ""
    plugins: Mapping[str, Any] = field(default_factory=dict)
    allocations: Mapping[str, Any] = field(default_factory=dict)
    probes: Mapping[str, Probes] = field(default_factory=dict)


def _bounded(plugins: Mapping[str, Any]) -> None:
    """Raise ValidationError for more instances than one report may have."""
    if instances_in(plugins) > INSTANCES_MAXIMUM:
        raise ValidationError(f"must have at most {INSTANCES_MAXIMUM} instances.")


def _few(allocations: Mapping[str, Any]) -> None:
    if len(allocations) > INSTANCES_MAXIMUM:
        raise ValidationError(f"must have at most {INSTANCES_MAXIMUM} allocations.")


def _at_most(maximum: int) -> validate.Length:
    return validate.Length(max=maximum, error=f"must have at most {maximum} entries.")


def size_of_labels(labels: Mapping[str, str]) -> int:
    """Return the bytes, as UTF-8, of the names and texts of attributes or meta."""
    return len("".join([*labels, *labels.values()]).encode())


def instances_in(plugins: Any) -> int:
    """Return how many instances the ``Plugins`` of a report may have, by type, ID and role.

    A value that is empty or not an object counts as one, because it has to be checked, too.
    """
    found = 0
    for of_type in _values(plugins):
        for by_role in _values(of_type):
            found += len(_values(by_role))
    return found


def _values(value: Any) -> Collection[Any]:
    return (value.values() if isinstance(value, dict) else ()) or (None,)


class ProbesSchema(Record):
    """The probes of one plugin type since the start of an agent; Time is in nanoseconds."""

    record = Probes

    class Meta:
        unknown = EXCLUDE

    number = Whole(load_default=0, data_key="Count")
    failures = Whole(load_default=0, data_key="Failures")
    time = Whole(load_default=0, data_key="Time")


def _probes() -> fields.Field[Any]:
    """Return the field in which agents report how many probes there were, by plugin type."""
    return fields.Dict(
        Text(maximum=128),
        fields.Nested(ProbesSchema),
        load_default=dict,
        data_key="Probes",
        validate=_at_most(TYPES_MAXIMUM),
        metadata={"description": "the probes since the start of the agent, by plugin type"},
    )


class ReportSchema(Record):
    """The body of ``PUT /v1/node/:node_id``."""

    record = Report

    class Meta:
        unknown = EXCLUDE

    name = Text(required=True, data_key="Name", maximum=253, metadata={"example": "vm1"})
    datacenter = Text(load_default="dc1", data_key="Datacenter", maximum=128)
    version = Text(load_default="", data_key="Version", maximum=128)
    run_id = Text(load_default="", data_key="RunID", maximum=128)
    address = Text(load_default="", data_key="Address", maximum=ADDRESS_MAXIMUM)
    attributes = fields.Dict(
        Text(),
        Text(maximum=4096),
        load_default=dict,
        data_key="Attributes",
        validate=_at_most(LABELS_MAXIMUM),
    )
    meta = fields.Dict(
        Text(maximum=META_KEY_MAXIMUM),
        Text(maximum=META_VALUE_MAXIMUM),
        load_default=dict,
        data_key="Meta",
        validate=_at_most(META_MAXIMUM),
    )
    node_class = Text(load_default="", data_key="NodeClass", maximum=NODE_CLASS_MAXIMUM)
    plugins = fields.Dict(required=True, data_key="Plugins", validate=_bounded)
    allocations = fields.Dict(load_default=dict, data_key="Allocations", validate=_few)
    probes = _probes()

    @validates_schema
    def _check(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        _bound_labels(data)


def _bound_labels(data: Mapping[str, Any]) -> None:
    """Raise ValidationError for a report with too many labels, or with labels that are too large
    together."""
    attributes, meta = data["attributes"], data["meta"]
    if len(attributes) + len(meta) > LABELS_MAXIMUM:
        text = f"must have at most {LABELS_MAXIMUM} entries together."
        raise ValidationError(text, "Attributes and Meta")
    if size_of_labels(attributes) + size_of_labels(meta) > LABELS_SIZE_MAXIMUM:
        text = f"must have at most {LABELS_SIZE_MAXIMUM:,} bytes together."
        raise ValidationError(text, "Attributes and Meta")


class HeartbeatSchema(Schema):
    """The body of ``PUT /v1/node/:node_id/heartbeat``."""

    class Meta:
        unknown = EXCLUDE

    Digest = Text(required=True, maximum=128)
    RunID = Text(load_default="", maximum=128)
    Probes = _probes()


_QUICK: Mapping[type[Schema], Quick] = {
    ReportSchema: Quick(ReportSchema(), _bound_labels),
    HeartbeatSchema: Quick(HeartbeatSchema()),
}
"""Quick loaders, by schema, of the bodies that agents send again and again."""


class NodeStubSchema(StampedSchema):
    """One node in a list: the fields of Nomad 0.11.8, and NodePool and LastDrain of newer ones."""

    ID = fields.String()
    Name = fields.String()
    Datacenter = fields.String()
    Address = fields.String()
    Version = fields.String()
    Status = fields.String()
    StatusDescription = fields.String()
    NodeClass = fields.String()
    NodePool = fields.Constant("default")
    SchedulingEligibility = fields.Constant("eligible")
    Drain = fields.Constant(False)
    LastDrain = fields.Constant(None)
    Drivers: fields.Field[Any] = fields.Constant({})
    HostVolumes = fields.Constant(None)


_SELDOM = {"optional": True}  # sent on request only


class NodeRowSchema(NodeStubSchema):
    """One node in a list, with the fields that ``os`` and ``resources`` add."""

    Attributes = fields.Dict(
        fields.String(), fields.String(), attribute="os_attributes", metadata=_SELDOM
    )
    NodeResources = fields.Constant(_RESOURCES, metadata=_SELDOM)
    ReservedResources = fields.Constant(_RESERVED, metadata=_SELDOM)


class Wanted(NamedTuple):
    """The optional fields that a client wants for nodes in a list; the others are always sent."""

    os: bool = False
    resources: bool = False

    @classmethod
    def all(cls) -> Iterator[Wanted]:
        """Yield every combination."""
        yield from (cls(os, resources) for os in (False, True) for resources in (False, True))


STUBS = Wanted()


def row_schema(wanted: Wanted) -> Schema:
    """Return the schema of one node in a list."""
    left_out = set() if wanted.os else {"Attributes"}
    if not wanted.resources:
        left_out |= {"NodeResources", "ReservedResources"}
    return NodeRowSchema(exclude=left_out)


class NodeSchema(NodeStubSchema):
    """One node, read by itself; its instances are added to it under the types' own keys."""

    Attributes = fields.Dict(fields.String(), fields.String())
    meta = fields.Dict(
        fields.String(), fields.String(), data_key="Meta"
    )  # in a schema, marshmallow reserves the name Meta for its options
    StatusUpdatedAt = fields.Integer()
    HTTPAddr = fields.String()
    Links = fields.Constant(None)
    Events: fields.Field[Any] = fields.Constant([])
    ComputedClass = fields.Constant("")
    DrainStrategy = fields.Constant(None)
    TLSEnabled = fields.Constant(False)
    Resources = fields.Constant(NO_RESOURCES)
    Reserved = fields.Constant(NO_RESOURCES)
    NodeResources = fields.Constant(_RESOURCES)
    ReservedResources = fields.Constant(_RESERVED)


def node_document(node: Node, description: str) -> dict[str, Any]:
    """Return the values of a node that ``NodeSchema`` and ``NodeRowSchema`` dump."""
    host, http_address = _addresses(node.address)
    return {
        "ID": node.id,
        "Name": node.name,
        "Datacenter": node.datacenter,
        "Address": host,
        "HTTPAddr": http_address,
        "NodeClass": node.node_class,
        "Version": node.version,
        "Status": node.status,
        "StatusDescription": description,
        "StatusUpdatedAt": node.status_since // SECOND,
        "Attributes": node.attributes,
        "os_attributes": {k: v for k, v in node.attributes.items() if k.startswith(_OS)},
        "meta": node.meta,
    }


def _addresses(reported: str) -> tuple[str, str]:
    """Return the host, and HOST:PORT, of the address that an agent reports.

    If the address has no port, Nomad's port is used; an invalid address has no HTTPAddr.
    """
    try:
        host, port = addresses.split(reported)
    except ValueError:
        return reported, ""
    return host, addresses.join(host, port or addresses.HTTP_PORT)


def load_quickly(schema: Schema, document: Any) -> Any:
    """Return what ``load`` returns, if a quick check finds no mistake in the document; None
    otherwise, because naming the mistakes may take a hundred times as long."""
    quick = _QUICK.get(type(schema))
    return quick.load(document) if quick is not None else None


def load(schema: Schema, document: Any) -> Any:
    """Return the object that a schema loads from a request's body.

    Raise BadRequest, which names the invalid fields.
    """
    if not isinstance(document, dict):
        raise BadRequest("the body must be a JSON object")
    if (found := load_quickly(schema, document)) is not None:
        return found
    try:
        return schema.load(document)
    except ValidationError as error:
        reasons = [f"{path}: {reason}" if path else reason for path, reason in reasons_of(error)]
        raise BadRequest(" ".join(reasons)) from error


def reasons_of(error: ValidationError) -> list[tuple[str, str]]:
    """Return the path of each invalid field ("NodeInfo.MaxVolumes") with its problem; if there are
    more than REASONS_MAXIMUM, only the first ones and the number of the others."""
    found = _flatten("", error.messages)
    more = len(found) - REASONS_MAXIMUM
    return found if more <= 0 else [*found[:REASONS_MAXIMUM], ("", f"and {more} more mistakes.")]


def _flatten(path: str, messages: Any) -> list[tuple[str, str]]:
    if not isinstance(messages, Mapping):
        return [(path, " ".join(tame(str(message), _REASON_MAXIMUM) for message in messages))]
    found: list[tuple[str, str]] = []
    for key, inner in messages.items():
        # "_schema" has the problems of the whole object; "key" and "value" come from marshmallow.
        name = "" if key in ("_schema", "key", "value") else tame(str(key), NAME_MAXIMUM)
        found += _flatten(".".join(part for part in (path, name) if part), inner)
    return found
