"""The wire shape of availability: how much of the time plugins were healthy."""

from __future__ import annotations

from marshmallow import fields

from plugind.plugin_type import WireSchema
from plugind.wire import fields as wire


class WindowSchema(WireSchema):
    """The availability over one span of time, ``Since`` to ``Until``. Nothing is known about the
    time before ``KnownSince``.

    ``Observed`` is the time while a server ran, in seconds times expected instances. Its parts are
    ``Healthy``, ``Unhealthy`` and ``NodeDown``; ``Unknown`` is not part of it. ``Availability`` is
    the share of ``Healthy`` in ``Observed``; ``AnyHealthy`` is the share of the time in which at
    least one instance was healthy. Both are null if nothing was observed.
    """

    Window = fields.String()
    Since = wire.Time()
    Until = wire.Time()
    KnownSince = wire.Time()
    Healthy = fields.Float()
    Unhealthy = fields.Float()
    NodeDown = fields.Float()
    Unknown = fields.Float()
    Observed = fields.Float()
    Availability = fields.Float(allow_none=True)
    AnyHealthy = fields.Float(allow_none=True)


class AvailabilitySchema(WireSchema):
    """The availability of a plugin in one role, or of the instances of a type in one role on a
    node (then ``ID`` is ``""``)."""

    Type = fields.String()
    ID = fields.String()
    Role = fields.String()
    Windows = fields.List(fields.Nested(WindowSchema))
