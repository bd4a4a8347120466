"""``/v1/acl/policies``, ``/v1/acl/policy/...``, ``/v1/acl/tokens`` and ``/v1/acl/token/...``:
read-only.

Policies and tokens come from files, so they have no indexes of their own. Their hashes, which are
computed as in Nomad, change when they do.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

from plugind import filtering
from plugind.acl import ANONYMOUS, Acl, Authorizer, Decision, Policy, Token
from plugind.acl.authorizer import ALLOWED, NO_RULE
from plugind.acl.tokens import MANAGEMENT
from plugind.acl.tokens import digest as known_by
from plugind.api.endpoints import Asked, Call, Endpoints, Source, settled_list, settled_value
from plugind.api.nomad_shapes import PolicySchema, PolicyStubSchema, TokenSchema, TokenStubSchema
from plugind.errors import BadRequest
from plugind.store.base import FIRST_INDEX

NOT_FOUND = "ACL policy not found"
NO_TOKEN = "ACL token not found"

_CREATED = "0001-01-01T00:00:00Z"  # Go's zero time: files do not say when a token was made
_STAMP = {"CreateIndex": FIRST_INDEX, "ModifyIndex": FIRST_INDEX}
_ONE = ("Agent", "Node", "Operator", "Plugin", "Quota")
_MANY = {"Namespaces": "namespace", "HostVolumes": "host_volume"}
_STUBS = PolicyStubSchema(many=True)
_FIELDS = filtering.fields_of(PolicyStubSchema())
_POLICY = PolicySchema()
_TOKEN = TokenSchema()
_TOKENS = TokenStubSchema(many=True)
_TOKEN_FIELDS = filtering.fields_of(TokenStubSchema())

endpoints: Endpoints[None] = Endpoints(type(None))


def _has_token(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require any valid token."""
    return NO_RULE if asked.caller.accessor == ANONYMOUS else ALLOWED


def _owns(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require a token that has the policy, or a management token."""
    if asked.path["name"] in asked.caller.policies:
        return _has_token(authorizer, asked)
    return authorizer.may_manage()


def _is_own(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require the token itself, or a management token."""
    if asked.path["accessor"] == asked.caller.accessor:
        return _has_token(authorizer, asked)
    return authorizer.may_manage()


@endpoints.read("/v1/acl/policies", need=_has_token, answer=_STUBS, errors=(400, 403))
def list_policies(call: Call[None]) -> Source:
    """List the policies: a management token sees all, any other token its own."""
    acl, own = _acl(call), call.asked.caller.policies
    manages = call.authorizer.may_manage().allowed
    names = sorted(acl.policies if manages else acl.policies.keys() & own)
    return settled_list([_policy(acl.policies[name]) for name in names], _STUBS, _FIELDS)


@endpoints.read("/v1/acl/policy/self", need=_has_token, answer=_STUBS, errors=(400, 403))
def list_own_policies(call: Call[None]) -> Source:
    """List the policies of the token that the request is made with; a management token has none."""
    acl = _acl(call)
    names = [name for name in call.asked.caller.policies if name in acl.policies]
    return settled_list([_policy(acl.policies[name]) for name in names], _STUBS, _FIELDS)


@endpoints.read("/v1/acl/policy/<name>", need=_owns, answer=_POLICY, errors=(400, 403, 404))
def read_policy(call: Call[None], name: str) -> Source:
    """Read one policy; a token that is not a management token may read its own."""
    policy = _acl(call).policies.get(name)
    return settled_value(_POLICY.dump(_policy(policy)) if policy else None, NOT_FOUND)


@endpoints.read("/v1/acl/tokens", need=_has_token, answer=_TOKENS, errors=(400, 403))
def list_tokens(call: Call[None]) -> Source:
    """List the tokens, without their secrets: a management token sees all, any other one itself."""
    acl, own = _acl(call), call.asked.caller.accessor
    manages = call.authorizer.may_manage().allowed
    seen = [each for each in acl.tokens.values() if manages or each.caller.accessor == own]
    rows = sorted(map(_token, seen), key=lambda row: str(row["AccessorID"]))
    return settled_list(rows, _TOKENS, _TOKEN_FIELDS, key="AccessorID")


@endpoints.read("/v1/acl/token/self", need=_has_token, answer=_TOKEN, errors=(400, 403))
def read_own_token(call: Call[None]) -> Source:
    """Read the token that the request is made with."""
    token = _acl(call).tokens[known_by(call.secret)]
    return settled_value(_TOKEN.dump({**_token(token), "SecretID": call.secret}), NO_TOKEN)


@endpoints.read("/v1/acl/token/<accessor>", need=_is_own, answer=_TOKEN, errors=(400, 403, 404))
def read_token(call: Call[None], accessor: str) -> Source:
    """Read one token, without its secret; one that is not a management token may read itself."""
    tokens = (each for each in _acl(call).tokens.values() if each.caller.accessor == accessor)
    token = next(tokens, None)
    found = None if token is None else _TOKEN.dump({**_token(token), "SecretID": ""})
    return settled_value(found, NO_TOKEN)


def _acl(call: Call[None]) -> Acl:
    """Return the policies and tokens that allowed the call. Raise BadRequest if ACLs are off."""
    if not call.acl.enabled:
        raise BadRequest("ACL support disabled")
    return call.acl


def _policy(policy: Policy) -> dict[str, Any]:
    rules: dict[str, Any] = {"Raw": policy.text}
    for key in _ONE:
        levels = [{"Policy": rule.level} for rule in policy.rules if rule.kind == key.lower()]
        rules[key] = levels[0] if levels else None
    for key, kind in _MANY.items():
        rules[key] = [
            {
                "Name": rule.label,
                "Policy": rule.level,
                "Capabilities": sorted(rule.capabilities) or None,
            }
            for rule in policy.rules
            if rule.kind == kind
        ] or None
    return {
        **_STAMP,
        "Name": policy.name,
        "Description": policy.description,
        "Hash": _hash([policy.name, policy.description, policy.text]),
        "Rules": policy.text,
        "RulesJSON": rules,
    }


def _token(token: Token) -> dict[str, Any]:
    """Return a token without its secret."""
    caller, is_global = token.caller, token.caller.type == MANAGEMENT
    scope = "global" if is_global else "local"
    return {
        **_STAMP,
        "AccessorID": caller.accessor,
        "Name": caller.name,
        "Type": caller.type,
        "Policies": list(caller.policies) or None,
        "Global": is_global,
        "Hash": _hash([caller.name, caller.type, *caller.policies, scope]),
        "CreateTime": _CREATED,
        "ExpirationTime": token.expires,
    }


def _hash(parts: Iterable[str]) -> str:
    """Return the hash that Nomad computes: 256-bit BLAKE2b of the concatenated parts, in base64."""
    digest = hashlib.blake2b("".join(parts).encode(), digest_size=32).digest()
    return base64.b64encode(digest).decode()
