"""The schemas of a CSI plugin's fingerprints, rows and bodies, in Nomad's names.

The fields of ControllerInfo and NodeInfo are Nomad's ``CSIControllerInfo`` and ``CSINodeInfo``
(https://developer.hashicorp.com/nomad/api-docs/plugins).
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from marshmallow import fields, validate

from plugind.fields import Flag, Number, Text
from plugind.plugin_type import WireSchema

SEGMENTS_MAXIMUM = 256


def _flag() -> Flag:
    return Flag(load_default=False)


_made = cache(
    lambda schema: schema()
)  # because making a schema takes ten times as long as loading with it


def _zeros(schema: type[WireSchema]) -> dict[str, Any]:
    """Return what clients see in place of an object that was never reported: zeros, never null."""
    loaded: dict[str, Any] = _made(schema).load({})
    return loaded


def _segments() -> fields.Dict:
    return fields.Dict(
        keys=Text(),
        values=Text(),
        load_default=dict,
        validate=validate.Length(max=SEGMENTS_MAXIMUM),
    )


class TopologySchema(WireSchema):
    """The place of a node: ``{"Segments": {"zone": "z1"}}``."""

    Segments = _segments()


class ControllerInfoSchema(WireSchema):
    """The capabilities of the Controller service."""

    SupportsAttachDetach = _flag()
    SupportsReadOnlyAttach = _flag()
    SupportsListVolumes = _flag()
    SupportsListVolumesAttachedNodes = _flag()
    SupportsCreateDelete = _flag()
    SupportsCreateDeleteSnapshot = _flag()
    SupportsListSnapshots = _flag()
    SupportsClone = _flag()
    SupportsExpand = _flag()
    SupportsGetCapacity = _flag()
    SupportsCondition = _flag()
    SupportsGet = _flag()


class NodeInfoSchema(WireSchema):
    """What the Node service reports about its machine, and its capabilities."""

    ID = Text(load_default="")
    MaxVolumes = Number(load_default=0)
    AccessibleTopology = fields.Nested(TopologySchema, load_default=None, allow_none=True)
    RequiresNodeStageVolume = _flag()
    SupportsStats = _flag()
    SupportsExpand = _flag()
    SupportsCondition = _flag()


class _FingerprintSchema(WireSchema):
    Provider = Text(load_default="")
    ProviderVersion = Text(load_default="")
    RequiresControllerPlugin = _flag()
    RequiresTopologies = _flag()


class ControllerFingerprintSchema(_FingerprintSchema):
    ControllerInfo = fields.Nested(
        ControllerInfoSchema, load_default=partial(_zeros, ControllerInfoSchema)
    )


class NodeFingerprintSchema(_FingerprintSchema):
    NodeInfo = fields.Nested(NodeInfoSchema, load_default=partial(_zeros, NodeInfoSchema))


class RowSchema(WireSchema):
    """The fields of a row in a list, in addition to the core's."""

    Provider = Text(load_default="")
    ControllerRequired = _flag()


class BodySchema(RowSchema):
    """The fields of a read, in addition to the core's.

    Nomad's server sends ControllerRequired, but its documentation has ControllersRequired; a read
    has both.
    """

    Version = Text(load_default="")
    ControllersRequired = _flag()
    Topologies = fields.List(_segments(), load_default=list)
