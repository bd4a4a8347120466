"""The wire shape of current problems."""

from __future__ import annotations

from marshmallow import fields
from marshmallow.validate import OneOf

from plugind.plugin_type import WireSchema
from plugind.wire import fields as wire

_SEVERITIES = OneOf(("ok", "warning", "critical"))


class ProblemNodeSchema(WireSchema):
    """A node that a problem names."""

    Name = fields.String()
    ID = fields.String()


class ProblemSchema(WireSchema):
    """One problem. ``Kind`` is ``node`` (it is down), ``clone`` (two agents report as one node),
    ``plugin`` (instances are unhealthy for one reason), or ``missing`` (fewer instances are known
    than are declared).

    ``Severity`` is ``ok`` if the plugin nevertheless has as many healthy instances as are expected.
    ``Type``, ``ID`` and ``Roles`` are those of the problem's plugin. ``Nodes`` has the first of
    ``NodeCount`` nodes. ``Since`` is the earliest time, null if it is not known.
    """

    Kind = fields.String(validate=OneOf(("node", "clone", "plugin", "missing")))
    Severity = fields.String(validate=_SEVERITIES)
    Type = fields.String()
    ID = fields.String()
    Roles = fields.List(fields.String())
    Reason = fields.String()
    Since = wire.Time(allow_none=True)
    NodeCount = fields.Integer()
    Nodes = fields.List(fields.Nested(ProblemNodeSchema))
    InstanceCount = fields.Integer()


class ProblemsSchema(WireSchema):
    """The current problems that the caller may read: the first of ``ProblemCount`` problems, sorted
    by severity, the worst first, and then by time, the newest first.

    A plugin is degraded when fewer instances are healthy than are expected, and down when none is.
    The numbers of nodes are null for a caller that may not read nodes.
    """

    Severity = fields.String(validate=_SEVERITIES)
    Plugins = fields.Integer()
    PluginsDegraded = fields.Integer()
    PluginsDown = fields.Integer()
    Nodes = fields.Integer(allow_none=True)
    NodesDown = fields.Integer(allow_none=True)
    ProblemCount = fields.Integer()
    Problems = fields.List(fields.Nested(ProblemSchema))
