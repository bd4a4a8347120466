"""The transitions of a machine's instances from one report to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from plugind.model import (
    CAME,
    HEALTHY,
    UNHEALTHY,
    WENT,
    InstanceChange,
    InstanceKey,
    description_or_default,
)

Plugins = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By type, plugin ID and role: a fingerprint as reported, or None for an instance that left."""


def transitions(
    before: Plugins, after: Plugins, node_id: str, node: str
) -> Iterator[InstanceChange]:
    """Yield the transition of each instance that came, went, or changed its health.

    ``before`` and ``after`` are the ``Plugins`` of two reports of the same node.
    """
    old, new = dict(_instances(before, node_id)), dict(_instances(after, node_id))
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key), new.get(key)
        shown = now or was
        if shown is None or (was and now and was["Healthy"] == now["Healthy"]):
            continue
        if was is None or now is None:
            kind = CAME if was is None else WENT
        else:
            kind = HEALTHY if now["Healthy"] else UNHEALTHY
        healthy = bool(shown["Healthy"])
        reason = description_or_default(str(shown.get("HealthDescription") or ""), healthy=healthy)
        yield InstanceChange(kind, key.type, key.id, key.role, node_id, node, healthy, reason)


def _instances(
    plugins: Plugins, node_id: str
) -> Iterator[tuple[InstanceKey, Mapping[str, Any] | None]]:
    for type_, ids in plugins.items():
        for id_, roles in ids.items():
            for role, fingerprint in roles.items():
                yield InstanceKey(node_id, type_, id_, role), fingerprint
