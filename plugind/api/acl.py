"""``/v1/acl/policies``, ``/v1/acl/policy/NAME`` and ``/v1/acl/token/self``, for reading only.

Policies and tokens come from files, so they have no indexes of their own: what changes with them
is their hash, which is Nomad's.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

import orjson

from plugind import filtering
from plugind.acl import ANONYMOUS, Acl, Authorizer, Decision, Policy, Rule, Token
from plugind.acl.authorizer import ALLOWED, NO_RULE
from plugind.acl.tokens import MANAGEMENT
from plugind.acl.tokens import digest as known_by
from plugind.api.endpoints import Asked, Call, Endpoints, Source, settled_list
from plugind.api.nomad_shapes import PolicySchema, PolicyStubSchema, TokenSchema
from plugind.catalogue import Reading
from plugind.errors import BadRequest
from plugind.model import SETTLED
from plugind.store.base import FIRST_INDEX

NOT_FOUND = "ACL policy not found"

_CREATED = "0001-01-01T00:00:00Z"  # Go's zero time: files do not say when a token was made
_STAMP = {"CreateIndex": FIRST_INDEX, "ModifyIndex": FIRST_INDEX}
_ONE = ("Agent", "Node", "Operator", "Plugin", "Quota")
_MANY = {"Namespaces": "namespace", "HostVolumes": "host_volume"}
_STUBS = PolicyStubSchema(many=True)
_FIELDS = filtering.fields_of(PolicyStubSchema())
_POLICY = PolicySchema()
_TOKEN = TokenSchema()

endpoints = Endpoints()


def _has_token(authorizer: Authorizer, asked: Asked) -> Decision:
    """A token, of whatever rights."""
    return NO_RULE if asked.caller.accessor == ANONYMOUS else ALLOWED


def _owns(authorizer: Authorizer, asked: Asked) -> Decision:
    """A token that has the policy, or a management token."""
    if asked.path["name"] in asked.caller.policies:
        return _has_token(authorizer, asked)
    return authorizer.may_manage()


@endpoints.read("/v1/acl/policies", need=_has_token, answer=_STUBS, errors=(400, 403))
def list_policies(call: Call) -> Source:
    """List the policies: a management token sees all, another one its own."""
    acl, own = _acl(call), call.asked.caller.policies
    manages = call.authorizer.may_manage().allowed
    names = sorted(acl.policies if manages else acl.policies.keys() & own)
    return settled_list([_policy(acl.policies[name]) for name in names], _STUBS, _FIELDS)


@endpoints.read("/v1/acl/policy/<name>", need=_owns, answer=_POLICY, errors=(400, 403, 404))
def read_policy(call: Call, name: str) -> Source:
    """Read one policy; a token that does not manage may read its own."""
    policy = _acl(call).policies.get(name)
    return _settled(_POLICY.dump(_policy(policy)) if policy else None)


@endpoints.read("/v1/acl/token/self", need=_has_token, answer=_TOKEN, errors=(400, 403))
def read_own_token(call: Call) -> Source:
    """Read the token that the request is made with."""
    token = _acl(call).tokens[known_by(call.secret)]
    return _settled(_TOKEN.dump(_own(token, call.secret)))


def _acl(call: Call) -> Acl:
    """The policies and tokens that the call was allowed by."""
    if not call.acl.enabled:
        raise BadRequest("ACL support disabled")
    return call.acl


def _settled(value: Any) -> Source:
    """A read of what files say; None does not exist."""
    body = None if value is None else orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return Source(SETTLED, lambda: Reading(FIRST_INDEX, body), NOT_FOUND, personal=True)


def _policy(policy: Policy) -> dict[str, Any]:
    return {
        **_STAMP,
        "Name": policy.name,
        "Description": policy.description,
        "Hash": _hash([policy.name, policy.description, policy.text]),
        "Rules": policy.text,
        "RulesJSON": _rules(policy),
    }


def _rules(policy: Policy) -> dict[str, Any]:
    found: dict[str, Any] = {"Raw": policy.text}
    for key in _ONE:
        levels = [{"Policy": rule.level} for rule in policy.rules if rule.kind == key.lower()]
        found[key] = levels[0] if levels else None
    for key, kind in _MANY.items():
        found[key] = [_labelled(rule) for rule in policy.rules if rule.kind == kind] or None
    return found


def _labelled(rule: Rule) -> dict[str, Any]:
    capabilities = sorted(rule.capabilities) or None
    return {"Name": rule.label, "Policy": rule.level, "Capabilities": capabilities}


def _own(token: Token, secret: str) -> dict[str, Any]:
    """A token as one sees it who has shown its secret."""
    caller, is_global = token.caller, token.caller.type == MANAGEMENT
    scope = "global" if is_global else "local"
    return {
        **_STAMP,
        "AccessorID": caller.accessor,
        "SecretID": secret,
        "Name": caller.name,
        "Type": caller.type,
        "Policies": list(caller.policies) or None,
        "Global": is_global,
        "Hash": _hash([caller.name, caller.type, *caller.policies, scope]),
        "CreateTime": _CREATED,
        "ExpirationTime": token.expires,
    }


def _hash(parts: Iterable[str]) -> str:
    """As Nomad makes it: BLAKE2b of 256 bits over the parts, one after the other."""
    digest = hashlib.blake2b("".join(parts).encode(), digest_size=32).digest()
    return base64.b64encode(digest).decode()
