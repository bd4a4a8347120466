"""The shapes of what Nomad's tools read beside plugins and nodes, as its SDK decodes them."""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, fields

from plugind.fields import Text, Time
from plugind.plugin_schemas import StampedSchema

NAME_MAXIMUM = 128


class PolicyStubSchema(StampedSchema):
    """One policy in a list."""

    Name = fields.String()
    Description = fields.String()
    Hash = fields.String()


class LevelSchema(Schema):
    """A rule without a label."""

    Policy = fields.String()


class LabelledSchema(LevelSchema):
    """A rule about what its label names."""

    Name = fields.String()
    Capabilities = fields.List(fields.String(), allow_none=True)


def _rule() -> fields.Nested:
    return fields.Nested(LevelSchema, allow_none=True)


def _rules() -> fields.List[Any]:
    return fields.List(fields.Nested(LabelledSchema), allow_none=True)


class RulesSchema(Schema):
    """What a policy's text says, kind by kind; null where it says nothing."""

    Agent = _rule()
    HostVolumes = _rules()
    Namespaces = _rules()
    Node = _rule()
    Operator = _rule()
    Plugin = _rule()
    Quota = _rule()
    Raw = fields.String()


class PolicySchema(PolicyStubSchema):
    """One policy, read by itself."""

    Rules = fields.String()
    RulesJSON = fields.Nested(RulesSchema)


class TokenSchema(StampedSchema):
    """A token, as its holder sees it."""

    AccessorID = fields.String()
    SecretID = fields.String()
    Name = fields.String()
    Type = fields.String()
    Policies = fields.List(fields.String(), allow_none=True)
    Roles = fields.Constant(None)
    Global = fields.Boolean()
    Hash = fields.String()
    CreateTime = fields.String()
    ExpirationTime = Time(allow_none=True)


class SearchSchema(Schema):
    """The body of a search."""

    class Meta:
        unknown = EXCLUDE

    Prefix = Text(load_default="", maximum=NAME_MAXIMUM)
    Context = Text(load_default="", maximum=NAME_MAXIMUM)


class FoundSchema(Schema):
    """The answer to a search: IDs by context, and whether there are more than are told."""

    Matches = fields.Dict(
        fields.String(), fields.List(fields.String(), allow_none=True), required=True
    )
    Truncations = fields.Dict(fields.String(), fields.Boolean())
    Index = fields.Integer()
    KnownLeader = fields.Constant(True)
    LastContact = fields.Constant(0)


class MemberSchema(Schema):
    """One server. The numbers of protocols are those that Nomad's tools expect."""

    Name = fields.String()
    Addr = fields.String()
    Port = fields.Integer()
    Status = fields.Constant("alive")
    Tags = fields.Dict(fields.String(), fields.String())
    ProtocolMin = fields.Constant(1)
    ProtocolMax = fields.Constant(5)
    ProtocolCur = fields.Constant(2)
    DelegateMin = fields.Constant(2)
    DelegateMax = fields.Constant(5)
    DelegateCur = fields.Constant(4)


class MembersSchema(Schema):
    """All servers."""

    Members = fields.List(fields.Nested(MemberSchema))
    ServerName = fields.String()
    ServerRegion = fields.String()
    ServerDC = fields.String()


class SelfSchema(Schema):
    """What a process says of itself; every value in ``stats`` is text."""

    config = fields.Dict(fields.String(), fields.Raw())
    member = fields.Nested(MemberSchema)
    stats = fields.Dict(fields.String(), fields.Dict(fields.String(), fields.String()))


class NamespaceSchema(StampedSchema):
    """One namespace."""

    Name = fields.String()
    Description = fields.String()
    Hash = fields.String()
    Quota = fields.Constant("")
    Capabilities = fields.Constant(None)
    meta = fields.Constant(None, data_key="Meta")  # marshmallow reads a class by the name of Meta
