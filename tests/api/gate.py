"""Rights, written out by hand: policies, callers, and each request with its allowed callers.

The expectations come from plugind's documented promises, not from its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plugind.acl.tokens import block, draw

NODE = "/v1/node/2f8d0c5e-6f7b-4e0a-9a53-1f6f4f0c8a11"
NO_NODE = "/v1/node/11111111-2222-4333-8444-555555555555"
NO_ALLOCATION = "11111111-2222-4333-8444-555555555555"

POLICIES = {
    **{
        f"{type}-{action}": f'namespace "default" {{ capabilities = ["{type}-{action}-plugin"] }}'
        for type in ("csi", "exec")
        for action in ("list", "read", "register")
    },
    **{
        f"{kind}-{level}": f'{kind} {{ policy = "{level}" }}'
        for kind in ("plugin", "node", "agent")
        for level in ("deny", "read", "write")
    },
    "plugin-list": 'plugin { policy = "list" }',
    **{
        f"namespace-{level}": f'namespace "default" {{ policy = "{level}" }}'
        for level in ("deny", "list", "read", "write")
    },
    "apps": 'namespace "apps" { capabilities = ["csi-list-plugin", "csi-read-plugin"] }',
    "exact": 'namespace "default" { policy = "read" }\nnamespace "*" { policy = "deny" }',
    "near": 'namespace "*" { policy = "deny" }\nnamespace "def*" { policy = "read" }',
    "far": 'namespace "*" { policy = "read" }\nnamespace "def*" { policy = "deny" }',
}
"""Policies by name; each but the last four has one rule."""

CLIENTS = {
    **{name: [name] for name in POLICIES},
    "denied list": ["csi-list", "namespace-deny"],
    "denied register": ["namespace-deny", "csi-register"],
    "denied read": ["namespace-read", "plugin-deny"],
    "denied plugin": ["plugin-read", "plugin-deny"],
    "denied node": ["node-write", "node-deny"],
    "denied agent": ["agent-deny", "agent-read"],
    "denied elsewhere": ["plugin-read", "namespace-deny"],
    "of no policy": ["nothing"],
    "of no rule": ["empty"],
}
"""Tokens by name, with the names of their policies."""

NOBODY, UNKNOWN, EXPIRED, MANAGEMENT = "nobody", "unknown", "expired", "management"

VALID = frozenset({*CLIENTS, MANAGEMENT})
ANYBODY = VALID | {NOBODY}
EVERYBODY = ANYBODY | {UNKNOWN, EXPIRED}


def only(*names: str) -> frozenset[str]:
    assert set(names) <= VALID
    return frozenset({MANAGEMENT, *names})


_LOOK = only(
    *("plugin-read", "denied elsewhere", "namespace-read", "namespace-write", "exact", "near")
)
_LIST_CSI = _LOOK | only("csi-list", "plugin-list")
_LIST_EXEC = _LOOK | only("exec-list", "plugin-list")
_READ_CSI = _LOOK | only("csi-read")
_NODES = only("node-read", "node-write")
_KNOW = _LIST_CSI | _LIST_EXEC | _READ_CSI | _NODES | only("exec-read", "apps")
_BEAT = only("csi-register", "exec-register", "node-write")
_SEE = _READ_CSI | _NODES | only("exec-read")
_FOLLOW = only()
"""No caller here may read both nodes and plugins."""

_NAMESPACE = _LIST_CSI | _LIST_EXEC | _READ_CSI | _BEAT | only("exec-read")
_AGENT = only("agent-read", "agent-write")
_OF_CSI_LIST = only("csi-list", "denied list")


@dataclass(frozen=True)
class Request:
    """One request, the callers who may send it, and the status that they get.

    With ``in_body``, the rights that it needs depend on the body.
    """

    method: str
    path: str
    allowed: frozenset[str]
    status: int = 200
    body: Any = None
    in_body: bool = False


def _report(type: str) -> dict[str, Any]:
    return {"Name": "vm1", "Plugins": {type: {}}}


def _search(method: str, context: str, allowed: frozenset[str]) -> Request:
    return Request(method, "/v1/search", allowed, 200, {"Context": context}, in_body=True)


def _fuzzy(method: str, context: str, allowed: frozenset[str]) -> Request:
    body = {"Text": "ebs", "Context": context}
    return Request(method, "/v1/search/fuzzy", allowed, 200, body, in_body=True)


REQUESTS = [
    Request("GET", "/v1/plugins", ANYBODY),
    Request("GET", "/v1/plugins?type=", ANYBODY),
    Request("GET", "/v1/plugins?type=csi", _LIST_CSI),
    Request("HEAD", "/v1/plugins?type=csi", _LIST_CSI),
    Request("GET", "/v1/plugins?type=csi&index=x", _LIST_CSI, 400),
    Request("GET", "/v1/plugins?type=exec", _LIST_EXEC),
    Request("GET", "/v1/plugins?type=nothing", _LIST_CSI | _LIST_EXEC, 400),
    Request(
        "GET",
        "/v1/plugins?type=csi&namespace=apps",
        only("apps", "plugin-list", "plugin-read", "denied elsewhere"),
    ),
    Request("GET", "/v1/plugins?type=csi&namespace=*", _LIST_CSI | only("apps")),
    Request("GET", "/v1/plugins?type=csi&namespace=", _LIST_CSI),
    Request("GET", "/v1/plugin/csi/ebs0", _READ_CSI),
    Request("GET", "/v1/plugin/csi/none", _READ_CSI, 404),
    Request("GET", "/v1/plugin/csi/ebs0?namespace=*", _READ_CSI | only("apps")),
    Request("GET", "/v1/plugin/exec/none", _LOOK | only("exec-read"), 404),
    Request("GET", "/v1/plugin/csi/ebs0/badge.svg", _READ_CSI),
    Request("GET", "/v1/plugin/csi/none/badge.svg", _READ_CSI, 404),
    Request("GET", "/v1/plugin/csi/ebs0/badge.svg?namespace=*", _READ_CSI | only("apps")),
    Request("GET", "/v1/plugin/exec/none/badge.svg", _LOOK | only("exec-read"), 404),
    Request("GET", "/v1/plugin/csi/ebs0/history", _READ_CSI),
    Request("GET", "/v1/plugin/csi/none/history", _READ_CSI, 404),
    Request("GET", "/v1/plugin/csi/ebs0/history?namespace=*", _READ_CSI | only("apps")),
    Request("GET", "/v1/plugin/exec/none/history", _LOOK | only("exec-read"), 404),
    Request("GET", "/v1/plugin/csi/ebs0/availability", _READ_CSI),
    Request("GET", "/v1/plugin/csi/none/availability", _READ_CSI, 404),
    Request("GET", "/v1/plugin/csi/ebs0/availability?namespace=*", _READ_CSI | only("apps")),
    Request("GET", "/v1/plugin/exec/none/availability", _LOOK | only("exec-read"), 404),
    Request("GET", "/v1/history", _SEE),
    Request("GET", "/v1/history?namespace=*", _SEE | only("apps")),
    Request("GET", "/v1/problems", _SEE),
    Request("GET", "/v1/problems?namespace=*", _SEE | only("apps")),
    Request("DELETE", "/v1/plugin/csi/none", only(), 404),
    Request("GET", "/v1/plugin-types", _KNOW),
    Request("GET", "/v1/nodes", _NODES),
    Request("GET", NODE, _NODES),
    Request("GET", NO_NODE, _NODES, 404),
    Request("GET", f"{NODE}/allocations", _NODES),
    Request("GET", f"{NODE}/history", _NODES),
    Request("GET", f"{NO_NODE}/history", _NODES, 404),
    Request("GET", f"{NODE}/availability", _NODES),
    Request("GET", f"{NO_NODE}/availability", _NODES, 404),
    Request("GET", "/v1/node/pools", _NODES),
    Request("GET", "/v1/allocations", _SEE),
    Request("GET", "/v1/allocations?namespace=*", _SEE | only("apps")),
    Request("GET", f"/v1/allocation/{NO_ALLOCATION}", _SEE, 404),
    Request("PUT", NODE, only("csi-register", "node-write"), 200, _report("csi"), in_body=True),
    Request("PUT", NODE, only("exec-register", "node-write"), 200, _report("exec"), in_body=True),
    Request("PUT", NODE, _BEAT, 200, {"Name": "vm1", "Plugins": {}}),
    Request("PUT", f"{NODE}/heartbeat", _BEAT, 409, {"Digest": "x"}),
    Request("DELETE", NO_NODE, only(), 404),
    Request("DELETE", f"{NO_NODE}/secret", only(), 404),
    _search("PUT", "plugins", _LIST_CSI | _LIST_EXEC),
    _search("PUT", "nodes", _NODES),
    _search("PUT", "allocs", _SEE),
    _search("PUT", "all", _LIST_CSI | _LIST_EXEC | _SEE),
    _search("POST", "plugins", _LIST_CSI | _LIST_EXEC),
    _search("POST", "nodes", _NODES),
    _fuzzy("PUT", "plugins", _LIST_CSI | _LIST_EXEC),
    _fuzzy("PUT", "nodes", _NODES),
    _fuzzy("PUT", "allocs", _SEE),
    _fuzzy("PUT", "all", _LIST_CSI | _LIST_EXEC | _SEE),
    _fuzzy("POST", "nodes", _NODES),
    Request("GET", "/v1/acl/policies", VALID),
    Request("GET", "/v1/acl/policy/csi-list", _OF_CSI_LIST),
    Request("GET", "/v1/acl/policy/nothing", only("of no policy"), 404),
    Request("GET", "/v1/acl/policy/self", VALID),
    Request("GET", "/v1/acl/tokens", VALID),
    Request("GET", "/v1/acl/token/self", VALID),
    Request("GET", f"/v1/acl/token/{NO_ALLOCATION}", only(), 404),
    # The answer to a GET does not end; tests/events has some.
    Request("HEAD", "/v1/event/stream", _FOLLOW),
    Request("HEAD", "/v1/event/stream?topic=*", _FOLLOW),
    Request("HEAD", "/v1/event/stream?topic=*:ebs0", _FOLLOW),
    Request("HEAD", "/v1/event/stream?topic=Node", _NODES),
    Request("HEAD", "/v1/event/stream?topic=CSIPlugin:ebs0", _READ_CSI),
    Request("HEAD", "/v1/event/stream?topic=CSIPlugin&namespace=*", _READ_CSI | only("apps")),
    Request("HEAD", "/v1/event/stream?topic=EXECPlugin", _LOOK | only("exec-read")),
    Request("HEAD", "/v1/event/stream?topic=Plugin", _LOOK),
    Request("HEAD", "/v1/event/stream?topic=Plugin:csi/ebs0", _READ_CSI),
    Request("HEAD", "/v1/event/stream?topic=Plugin:csi/ebs0&topic=Plugin:ebs0", _LOOK),
    Request("HEAD", "/v1/event/stream?topic=CSIPlugin&topic=Node", _FOLLOW),
    Request("HEAD", "/v1/event/stream?topic=Job", ANYBODY),
    Request("HEAD", "/v1/event/stream?topic=a:b:c", _FOLLOW, 400),
    Request("GET", "/v1/event/stream?index=x", _FOLLOW, 400),
    Request("GET", "/v1/agent/health", EVERYBODY),
    Request("GET", "/v1/agent/members", _NODES),
    Request("GET", "/v1/agent/servers", _AGENT),
    Request("GET", "/v1/agent/self", _AGENT),
    Request("GET", "/v1/metrics", _AGENT),
    Request("GET", "/v1/metrics?format=prometheus", _AGENT),
    Request("GET", "/v1/metrics?format=xml", _AGENT, 400),
    Request("GET", "/v1/status/leader", EVERYBODY),
    Request("GET", "/v1/status/peers", EVERYBODY),
    Request("GET", "/v1/regions", EVERYBODY),
    Request("GET", "/v1/namespaces", ANYBODY),
    Request("GET", "/v1/namespace/default", _NAMESPACE),
    Request("GET", "/v1/namespace/apps", _NAMESPACE, 404),
    Request("GET", "/v1/openapi.json", EVERYBODY),
]


@dataclass(frozen=True)
class Gate:
    """A configuration with ACLs, and the secrets and accessors of its tokens by name."""

    config: str
    secrets: dict[str, str]
    accessors: dict[str, str]

    def headers(self, name: str) -> dict[str, str]:
        return {"X-Nomad-Token": self.secrets[name]} if self.secrets[name] else {}


def gate(folder: Path, *names: str, **more: str) -> Gate:
    """Write policies and tokens of the named clients, or of all, to ``folder``.

    ``more`` are policies that no token has.
    """
    clients = {name: CLIENTS[name] for name in names or CLIENTS}
    used = {policy for policies in clients.values() for policy in policies}
    drawn = {name: draw(name, "client", policies, None) for name, policies in clients.items()}
    drawn[MANAGEMENT] = draw(MANAGEMENT, "management", [], None)
    drawn[EXPIRED] = draw(EXPIRED, "management", [], 1)
    (folder / "policies").mkdir()
    for name, text in {**POLICIES, "empty": "", **more}.items():
        if name in used or name in more:
            (folder / "policies" / f"{name}.hcl").write_text(text)
    (folder / "tokens.hcl").write_text("".join(block(token) for _, token in drawn.values()))
    return Gate(
        acl_block(folder),
        {NOBODY: "", UNKNOWN: "0" * 64, **{name: secret for name, (secret, _) in drawn.items()}},
        {name: token.caller.accessor for name, (_, token) in drawn.items()},
    )


def acl_block(folder: Path) -> str:
    """Return the configuration of ACLs whose files are in ``folder``."""
    return (
        "acl {\n  enabled = true\n"
        f'  policies = "{folder}/policies"\n  tokens = "{folder}/tokens.hcl"\n}}\n'
    )
