"""The wire shape of history: the transitions of instances, nodes and declarations."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from plugind.model import VERSION, StoredTransition
from plugind.plugin_type import WireSchema
from plugind.wire import fields as wire


class TransitionSchema(WireSchema):
    """One transition. ``Event`` is its kind, ``Time`` is when it was stored, and ``Since`` is when
    it began, as far as known. ``Seq`` grows by one with each transition of the server.

    ``Before`` and ``After`` have what changed: health (``down`` on a node that is down), reasons,
    versions, a node's status, expected numbers. ``Healthy`` is the health shown after the
    transition. ``Version`` is that of the instance. ``Count``, ``HealthySeconds`` and ``Until``
    are for ``flapping``: how many changes the row stands for, how long the instance was healthy,
    and when the last of these changes happened (null for other rows).
    """

    Index = fields.Integer()
    Seq = fields.Integer()
    Time = wire.Time()
    Since = wire.Time()
    Type = fields.String()
    ID = fields.String()
    Role = fields.String()
    NodeID = fields.String()
    NodeName = fields.String()
    Event = fields.String()
    Before = fields.String()
    After = fields.String()
    Reason = fields.String()
    Version = fields.String()
    Healthy = fields.Boolean()
    Count = fields.Integer()
    HealthySeconds = fields.Integer()
    Until = wire.Time(allow_none=True)


_SCHEMA = TransitionSchema()


def wire_row(stored: StoredTransition) -> dict[str, Any]:
    """Return a transition as clients see it."""
    one = stored.transition
    row: dict[str, Any] = _SCHEMA.dump(
        {
            "Index": stored.index,
            "Seq": stored.seq,
            "Time": one.time,
            "Since": one.since,
            "Type": one.type,
            "ID": one.id,
            "Role": one.role,
            "NodeID": one.node_id,
            "NodeName": one.node,
            "Event": one.kind,
            "Before": one.before,
            "After": one.after,
            "Reason": one.reason,
            "Version": one.version or (one.after if one.kind == VERSION else ""),
            "Healthy": one.healthy,
            "Count": one.count,
            "HealthySeconds": one.healthy_seconds,
            "Until": one.until or None,
        }
    )
    return row
