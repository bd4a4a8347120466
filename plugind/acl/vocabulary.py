"""The vocabulary of policies: the kinds of blocks, and the levels and capabilities of each.

It has all of Nomad's, so that Nomad's policy files load unchanged
(https://developer.hashicorp.com/nomad/docs/other-specifications/acl-policy), and those of the
plugin types. plugind's decisions use only ``namespace``, ``plugin``, ``node`` and ``agent`` blocks;
the others are only validated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from plugind.plugin_type import PluginType

DENY, LIST, READ, SCALE, WRITE = "deny", "list", "read", "scale", "write"
REGISTER = "register"
ACTIONS = (LIST, READ, REGISTER)
"""Actions on plugins of a type; for each, there is a capability in namespaces."""

_LEVELS = frozenset({DENY, READ, SCALE, WRITE})
_NAME = re.compile(r"[a-zA-Z0-9*-]{1,128}")
_NAME_OR_UNDERSCORE = re.compile(r"[a-zA-Z0-9_*-]{1,128}")
_OF_A_TYPE = re.compile(r"([a-z][a-z0-9_-]{0,31})-(?:list|read|register)-plugin")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of block in a policy.

    ``label`` is the pattern of its label, or None for a block without a label.
    """

    levels: frozenset[str] = _LEVELS
    capabilities: frozenset[str] = frozenset()
    label: re.Pattern[str] | None = None

    @property
    def required(self) -> bool:
        """Return whether a block of this kind must have a level."""
        return not self.capabilities


NAMESPACE = "namespace"

KINDS = {
    NAMESPACE: Kind(
        levels=_LEVELS | {LIST},
        label=_NAME,
        capabilities=frozenset(
            {
                *("deny", "sentinel-override"),
                *("list-jobs", "parse-job", "plan-job", "read-job", "register-job", "submit-job"),
                *("deregister-job", "dispatch-job", "evaluate-job", "force-periodic-job"),
                *("purge-job", "revert-job", "scale-job", "stable-job", "tag-job-version"),
                *("list-scaling-policies", "read-job-scaling", "read-scaling-policy"),
                *("cancel-deployment", "fail-deployment", "pause-deployment"),
                *("promote-deployment", "set-alloc-health-deployment", "unblock-deployment"),
                *("alloc-exec", "alloc-lifecycle", "alloc-node-exec", "read-fs", "read-logs"),
                *("gc-allocation", "pause-allocation"),
                *("host-volume-create", "host-volume-delete", "host-volume-read"),
                *("host-volume-register", "host-volume-write"),
                *("delete-service-registration", "submit-recommendation"),
            }
        ),
    ),
    "node_pool": Kind(
        label=_NAME_OR_UNDERSCORE, capabilities=frozenset({DENY, READ, WRITE, "delete"})
    ),
    "host_volume": Kind(
        label=_NAME, capabilities=frozenset({DENY, "mount-readonly", "mount-readwrite"})
    ),
    "agent": Kind(),
    "node": Kind(),
    "quota": Kind(),
    "plugin": Kind(levels=frozenset({DENY, LIST, READ, WRITE})),
    "operator": Kind(
        capabilities=frozenset(
            {
                *(DENY, "license-read", "snapshot-save"),
                *("keyring-delete", "keyring-read", "keyring-rotate"),
            }
        )
    ),
    "sentinel": Kind(
        capabilities=frozenset(
            {
                *(DENY, READ, "submit", "delete"),
                *("sentinel-read", "sentinel-submit", "sentinel-delete"),
            }
        )
    ),
}
VARIABLE_CAPABILITIES = frozenset({DENY, LIST, READ, WRITE, "destroy"})


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words that the installed plugin types add to policies.

    ``types`` are their sorted names; ``capabilities`` are all that a namespace may name, including
    Nomad's.
    """

    types: tuple[str, ...]
    capabilities: frozenset[str]

    @classmethod
    def of(cls, types: Iterable[PluginType]) -> Vocabulary:
        known = sorted(types, key=lambda type_: type_.name)
        brought = {name for type_ in known for name in type_.capabilities}
        own = {capability(type_.name, action) for type_ in known for action in ACTIONS}
        everything = KINDS[NAMESPACE].capabilities | brought | own
        return cls(tuple(type_.name for type_ in known), everything)

    def shorthand(self, level: str) -> frozenset[str]:
        """Return the capabilities that a namespace's level grants; no level grants registering."""
        actions = (LIST, READ) if level in (READ, WRITE) else ()
        return frozenset(capability(type_, action) for type_ in self.types for action in actions)

    def absent_type(self, name: str) -> str:
        """Return the type in the name of a capability if it is not installed; "" otherwise."""
        match = _OF_A_TYPE.fullmatch(name)
        return match[1] if match and name not in self.capabilities else ""


def capability(type_: str, action: str) -> str:
    """Return the namespace capability to list, read or register plugins of a type."""
    return f"{type_}-{action}-plugin"
