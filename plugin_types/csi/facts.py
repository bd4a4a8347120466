"""The facts about a driver, read from its answers, in the form of fingerprints on the wire."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from plugin_types.csi import csi_pb2
from plugin_types.csi.driver import (
    CONTROLLER_CAPABILITIES,
    NODE_CAPABILITIES,
    NODE_INFO,
    PLUGIN_CAPABILITIES,
    PLUGIN_INFO,
    PROBE,
    Refusal,
)
from plugin_types.csi.roles import CONTROLLER, NODE
from plugind.fields import INT64_MAX

_PluginCan = csi_pb2.PluginCapability.Service
_ControllerCan = csi_pb2.ControllerServiceCapability.RPC
_NodeCan = csi_pb2.NodeServiceCapability.RPC

_CONTROLLER_FLAGS = {
    "SupportsAttachDetach": _ControllerCan.PUBLISH_UNPUBLISH_VOLUME,
    "SupportsReadOnlyAttach": _ControllerCan.PUBLISH_READONLY,
    "SupportsListVolumes": _ControllerCan.LIST_VOLUMES,
    "SupportsListVolumesAttachedNodes": _ControllerCan.LIST_VOLUMES_PUBLISHED_NODES,
    "SupportsCreateDelete": _ControllerCan.CREATE_DELETE_VOLUME,
    "SupportsCreateDeleteSnapshot": _ControllerCan.CREATE_DELETE_SNAPSHOT,
    "SupportsListSnapshots": _ControllerCan.LIST_SNAPSHOTS,
    "SupportsClone": _ControllerCan.CLONE_VOLUME,
    "SupportsExpand": _ControllerCan.EXPAND_VOLUME,
    "SupportsGetCapacity": _ControllerCan.GET_CAPACITY,
    "SupportsCondition": _ControllerCan.VOLUME_CONDITION,
    "SupportsGet": _ControllerCan.GET_VOLUME,
}
_NODE_FLAGS = {
    "RequiresNodeStageVolume": _NodeCan.STAGE_UNSTAGE_VOLUME,
    "SupportsStats": _NodeCan.GET_VOLUME_STATS,
    "SupportsExpand": _NodeCan.EXPAND_VOLUME,
    "SupportsCondition": _NodeCan.VOLUME_CONDITION,
}
_CALLS = {CONTROLLER: (CONTROLLER_CAPABILITIES,), NODE: (NODE_CAPABILITIES, NODE_INFO)}


@dataclass(frozen=True)
class Facts:
    """What a driver reports about itself.

    ``details`` are the fingerprint's fields by role, for the roles that the driver has.
    ``refusals`` has, by role, a call that it refused: that half is not healthy.
    """

    name: str
    details: Mapping[str, Mapping[str, Any]]
    refusals: Mapping[str, Refusal]


def calls_for(roles: Collection[str]) -> tuple[str, ...]:
    """Return the calls for a driver that may have these roles."""
    return (PLUGIN_INFO, PLUGIN_CAPABILITIES, *(call for role in roles for call in _CALLS[role]))


def read(answers: Mapping[str, Any], roles: Collection[str]) -> Facts | Refusal:
    """Return the facts in the answers to ``calls_for(roles)``.

    A driver that answers UNIMPLEMENTED when asked for a service's capabilities does not have that
    service. The result is a Refusal if the driver does not even identify itself.
    """
    info, can = answers[PLUGIN_INFO], answers[PLUGIN_CAPABILITIES]
    for answer in (info, can):
        if isinstance(answer, Refusal):
            return answer
    services = {capability.service.type for capability in can.capabilities}
    common = {
        "Provider": info.name,
        "ProviderVersion": info.vendor_version,
        "RequiresControllerPlugin": _PluginCan.CONTROLLER_SERVICE in services,
        "RequiresTopologies": _PluginCan.VOLUME_ACCESSIBILITY_CONSTRAINTS in services,
    }
    halves = {CONTROLLER: _controller, NODE: _node}
    found = {role: half for role in roles if not _is_unimplemented(half := halves[role](answers))}
    return Facts(
        info.name,
        {
            role: common if isinstance(half, Refusal) else {**common, **half}
            for role, half in found.items()
        },
        {role: half for role, half in found.items() if isinstance(half, Refusal)},
    )


def is_not_csi(answers: Mapping[str, Any]) -> bool:
    """Return whether no call is implemented: the answers are those of some other gRPC server."""
    return all(_is_unimplemented(answer) for answer in answers.values())


def lacks_identity(answers: Mapping[str, Any]) -> bool:
    """Return whether the driver, which has other CSI services, lacks the Identity service."""
    identity = (PROBE, PLUGIN_INFO, PLUGIN_CAPABILITIES)
    return all(_is_unimplemented(answers[call]) for call in identity)


def _controller(answers: Mapping[str, Any]) -> dict[str, Any] | Refusal:
    can = answers[CONTROLLER_CAPABILITIES]
    if isinstance(can, Refusal):
        return can
    return {"ControllerInfo": _flags(_CONTROLLER_FLAGS, can.capabilities)}


def _node(answers: Mapping[str, Any]) -> dict[str, Any] | Refusal:
    can, info = answers[NODE_CAPABILITIES], answers[NODE_INFO]
    if isinstance(can, Refusal):
        return can
    flags = _flags(_NODE_FLAGS, can.capabilities)
    if _is_unimplemented(info):
        return {"NodeInfo": {"ID": "", "MaxVolumes": 0, "AccessibleTopology": None, **flags}}
    if isinstance(info, Refusal):
        return info
    topology = {"Segments": dict(info.accessible_topology.segments)}
    return {
        "NodeInfo": {
            "ID": info.node_id,
            # Zero means that the CO decides (CSI, NodeGetInfo); Nomad shows the largest number.
            "MaxVolumes": info.max_volumes_per_node if info.max_volumes_per_node > 0 else INT64_MAX,
            "AccessibleTopology": topology if info.HasField("accessible_topology") else None,
            **flags,
        }
    }


def _flags(names: Mapping[str, Any], capabilities: Iterable[Any]) -> dict[str, bool]:
    can = {capability.rpc.type for capability in capabilities}
    return {name: number in can for name, number in names.items()}


def _is_unimplemented(answer: Any) -> bool:
    return isinstance(answer, Refusal) and answer.code is grpc.StatusCode.UNIMPLEMENTED
