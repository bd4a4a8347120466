"""The wire shapes of nodes: what an agent reports, and what Nomad's tools decode of a node.

What only a scheduler could know is there with the value it has on a node that runs no jobs, for
clients dereference it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from marshmallow import EXCLUDE, Schema, ValidationError, fields

from plugind.allocation_schemas import NO_RESOURCES
from plugind.errors import BadRequest
from plugind.fields import SECOND, Record, Text, tame
from plugind.model import Node
from plugind.plugin_schemas import StampedSchema

INSTANCES_MAXIMUM = 4096
"""In one report."""

REASONS_MAXIMUM = 16
NAME_MAXIMUM = 64
"""Characters that are told of a stranger's name for something."""

_REASON_MAXIMUM = 512
_SHARES = {"Cpu": {"CpuShares": 0}, "Memory": {"MemoryMB": 0}, "Disk": {"DiskMB": 0}}
_RESOURCES = {**_SHARES, "Networks": None, "Devices": None}
_RESERVED = {**_SHARES, "Networks": {"ReservedHostPorts": ""}}
_OS = "os."


@dataclass(frozen=True, slots=True)
class Report:
    """A node's whole report, its envelope checked and what is in ``plugins`` and ``allocations``
    not yet.

    ``plugins`` is type -> plugin ID -> role -> fingerprint, with None for one that is gone on
    purpose; ``allocations`` describes by ID the processes that fingerprints name.
    """

    name: str
    datacenter: str = "dc1"
    version: str = ""
    run_id: str = ""
    address: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)
    plugins: Mapping[str, Any] = field(default_factory=dict)
    allocations: Mapping[str, Any] = field(default_factory=dict)


def _bounded(plugins: Mapping[str, Any]) -> None:
    """Each report is worked through while all others wait."""
    if _items(plugins, levels=3) > INSTANCES_MAXIMUM:
        raise ValidationError(f"must have at most {INSTANCES_MAXIMUM} instances.")


def _few(allocations: Mapping[str, Any]) -> None:
    if len(allocations) > INSTANCES_MAXIMUM:
        raise ValidationError(f"must have at most {INSTANCES_MAXIMUM} allocations.")


def _items(value: Any, levels: int) -> int:
    """How much there is to look at: by type, ID and role, and what is empty or no object as one."""
    if levels == 0 or not isinstance(value, Mapping):
        return 1
    return sum(_items(inner, levels - 1) for inner in value.values()) or 1


class ReportSchema(Record):
    """The body of ``PUT /v1/node/:node_id``."""

    record = Report

    class Meta:
        unknown = EXCLUDE

    name = Text(required=True, data_key="Name", maximum=253, metadata={"example": "vm1"})
    datacenter = Text(load_default="dc1", data_key="Datacenter", maximum=128)
    version = Text(load_default="", data_key="Version", maximum=128)
    run_id = Text(load_default="", data_key="RunID", maximum=128)
    address = Text(load_default="", data_key="Address", maximum=253)
    attributes = fields.Dict(Text(), Text(maximum=4096), load_default=dict, data_key="Attributes")
    meta = fields.Dict(Text(), Text(maximum=4096), load_default=dict, data_key="Meta")
    plugins = fields.Dict(required=True, data_key="Plugins", validate=_bounded)
    allocations = fields.Dict(load_default=dict, data_key="Allocations", validate=_few)


class HeartbeatSchema(Schema):
    """The body of ``PUT /v1/node/:node_id/heartbeat``."""

    class Meta:
        unknown = EXCLUDE

    Digest = Text(required=True, maximum=128)
    RunID = Text(load_default="", maximum=128)


class NodeStubSchema(StampedSchema):
    """One node in a list (those of Nomad 0.11.8, and newer Nomad's NodePool,
    LastDrain)."""

    ID = fields.String()
    Name = fields.String()
    Datacenter = fields.String()
    Address = fields.String()
    Version = fields.String()
    Status = fields.String()
    StatusDescription = fields.String()
    NodeClass = fields.Constant("")
    NodePool = fields.Constant("default")
    SchedulingEligibility = fields.Constant("eligible")
    Drain = fields.Constant(False)
    LastDrain = fields.Constant(None)
    Drivers: fields.Field[Any] = fields.Constant({})
    HostVolumes = fields.Constant(None)


_SELDOM = {"optional": True}  # only where it is asked for


class NodeRowSchema(NodeStubSchema):
    """The same with what ``os`` and ``resources`` ask for."""

    Attributes = fields.Dict(
        fields.String(), fields.String(), attribute="os_attributes", metadata=_SELDOM
    )
    NodeResources = fields.Constant(_RESOURCES, metadata=_SELDOM)
    ReservedResources = fields.Constant(_RESERVED, metadata=_SELDOM)


class Wanted(NamedTuple):
    """What is wanted of nodes in a list beside what always stands there."""

    os: bool = False
    resources: bool = False

    @classmethod
    def all(cls) -> Iterator[Wanted]:
        yield from (cls(os, resources) for os in (False, True) for resources in (False, True))


STUBS = Wanted()


def row_schema(wanted: Wanted) -> Schema:
    """The schema of one node in a list."""
    left_out = set() if wanted.os else {"Attributes"}
    if not wanted.resources:
        left_out |= {"NodeResources", "ReservedResources"}
    return NodeRowSchema(exclude=left_out)


class NodeSchema(NodeStubSchema):
    """One node, read by itself; its instances are joined to it under the types' own keys."""

    Attributes = fields.Dict(fields.String(), fields.String())
    meta = fields.Dict(
        fields.String(), fields.String(), data_key="Meta"
    )  # marshmallow reads a class by the name of Meta
    StatusUpdatedAt = fields.Integer()
    HTTPAddr = fields.Constant("")
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
    """What ``NodeSchema`` and ``NodeRowSchema`` dump, of a node."""
    return {
        "ID": node.id,
        "Name": node.name,
        "Datacenter": node.datacenter,
        "Address": node.address,
        "Version": node.version,
        "Status": node.status,
        "StatusDescription": description,
        "StatusUpdatedAt": node.status_since // SECOND,
        "Attributes": node.attributes,
        "os_attributes": {k: v for k, v in node.attributes.items() if k.startswith(_OS)},
        "meta": node.meta,
    }


def load(schema: Schema, document: Any) -> Any:
    """What a schema loads from a request's body. Raises BadRequest that names the fields."""
    if not isinstance(document, Mapping):
        raise BadRequest("the body must be a JSON object")
    try:
        return schema.load(document)
    except ValidationError as error:
        reasons = [f"{path}: {reason}" if path else reason for path, reason in reasons_of(error)]
        raise BadRequest(" ".join(reasons)) from error


def reasons_of(error: ValidationError) -> list[tuple[str, str]]:
    """The path of each field that is wrong ("NodeInfo.MaxVolumes"), and what is wrong with it; of
    very many the first ones."""
    found = _flatten("", error.messages)
    more = len(found) - REASONS_MAXIMUM
    return found if more <= 0 else [*found[:REASONS_MAXIMUM], ("", f"and {more} more mistakes.")]


def _flatten(path: str, messages: Any) -> list[tuple[str, str]]:
    if not isinstance(messages, Mapping):
        told = " ".join(tame(str(message), _REASON_MAXIMUM) for message in messages)
        return [(path, told)]
    found: list[tuple[str, str]] = []
    for key, inner in messages.items():
        # "_schema" holds what is wrong with the whole, "key" and "value" are marshmallow's own.
        name = "" if key in ("_schema", "key", "value") else tame(str(key), NAME_MAXIMUM)
        found += _flatten(".".join(part for part in (path, name) if part), inner)
    return found
