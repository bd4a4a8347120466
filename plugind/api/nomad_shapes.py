"""The shapes, other than plugins and nodes, that Nomad's tools read, as its SDK decodes them."""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from plugind.schemas.plugins import StampedSchema
from plugind.wire.fields import Text, Time

NAME_MAXIMUM = 128
FUZZY_MINIMUM = 2
"""Least characters of the text of a fuzzy search, as in Nomad."""


class PolicyStubSchema(StampedSchema):
    """One policy in a list."""

    Name = fields.String()
    Description = fields.String()
    Hash = fields.String()


class LevelSchema(Schema):
    """A rule without a label."""

    Policy = fields.String()


class LabelledSchema(LevelSchema):
    """A rule with a label, which is its Name."""

    Name = fields.String()
    Capabilities = fields.List(fields.String(), allow_none=True)


def _rule() -> fields.Nested:
    return fields.Nested(LevelSchema, allow_none=True)


def _rules() -> fields.List[Any]:
    return fields.List(fields.Nested(LabelledSchema), allow_none=True)


class RulesSchema(Schema):
    """The rules of a policy, by kind; null for a kind without rules."""

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


class TokenStubSchema(StampedSchema):
    """A token, without its secret."""

    AccessorID = fields.String()
    Name = fields.String()
    Type = fields.String()
    Policies = fields.List(fields.String(), allow_none=True)
    Roles = fields.Constant(None)
    Global = fields.Boolean()
    Hash = fields.String()
    CreateTime = fields.String()
    ExpirationTime = Time(allow_none=True)


class TokenSchema(TokenStubSchema):
    """A token, read by itself; only the answer to its holder, who sent the secret, contains it."""

    SecretID = fields.String()


class SearchSchema(Schema):
    """The body of a search."""

    class Meta:
        unknown = EXCLUDE

    Prefix = Text(load_default="", maximum=NAME_MAXIMUM)
    Context = Text(load_default="", maximum=NAME_MAXIMUM)


class FoundSchema(Schema):
    """The answer to a search: IDs by context, and whether there are more."""

    Matches = fields.Dict(
        fields.String(), fields.List(fields.String(), allow_none=True), required=True
    )
    Truncations = fields.Dict(fields.String(), fields.Boolean())
    Index = fields.Integer()
    KnownLeader = fields.Constant(True)
    LastContact = fields.Constant(0)


class FuzzySchema(Schema):
    """The body of a fuzzy search."""

    class Meta:
        unknown = EXCLUDE

    text = Text(
        data_key="Text",
        required=True,
        maximum=NAME_MAXIMUM,
        validate=validate.Length(
            min=FUZZY_MINIMUM, error=f"must have at least {FUZZY_MINIMUM} characters."
        ),
        metadata={"example": "ebs"},
    )
    Context = Text(load_default="all", maximum=NAME_MAXIMUM)


class FuzzyMatchSchema(Schema):
    """One match: its name, and what else identifies it."""

    ID = fields.String()
    Scope = fields.List(fields.String(), allow_none=True)


class FuzzyFoundSchema(Schema):
    """The answer to a fuzzy search: matches by context, and whether there are more."""

    Matches = fields.Dict(
        fields.String(), fields.List(fields.Nested(FuzzyMatchSchema)), required=True
    )
    Truncations = fields.Dict(fields.String(), fields.Boolean())
    Index = fields.Integer()
    KnownLeader = fields.Constant(True)
    LastContact = fields.Constant(0)


class MemberSchema(Schema):
    """One server. The protocol numbers are those that Nomad's tools expect."""

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
    """A process: its settings and counts; every value in ``stats`` is text."""

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
    meta = fields.Constant(None, data_key="Meta")  # marshmallow reads a class named Meta as options


class NodePoolSchema(StampedSchema):
    """One pool of nodes."""

    Name = fields.String()
    Description = fields.String()
    SchedulerConfiguration = fields.Constant(None)
    meta = fields.Constant(None, data_key="Meta")
