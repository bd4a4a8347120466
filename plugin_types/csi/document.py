"""Plugins in the shapes of Nomad's API documentation, which differ from those its servers send.

Source: the samples of https://developer.hashicorp.com/nomad/api-docs/plugins, with the keys in the
same order. A read returns a list of one plugin, its topologies are flat maps, and times have
milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_ROW = (
    "ID",
    "Provider",
    "ControllerRequired",
    "ControllersHealthy",
    "ControllersExpected",
    "NodesHealthy",
    "NodesExpected",
    "CreateIndex",
    "ModifyIndex",
)
_IDENTITY = ("ID", "Topologies", "Provider", "Version", "ControllersRequired")
_FINGERPRINT = (
    "PluginID",
    "Provider",
    "ProviderVersion",
    "AllocID",
    "Healthy",
    "HealthDescription",
    "UpdateTime",
    "RequiresControllerPlugin",
    "RequiresTopologies",
)
_CONTROLLER = (
    "SupportsReadOnlyAttach",
    "SupportsAttachDetach",
    "SupportsListVolumes",
    "SupportsListVolumesAttachedNodes",
)
_NODE = ("ID", "MaxVolumes", "AccessibleTopology", "RequiresNodeStageVolume")

Document = Mapping[str, Any]


def row(plugin: Document) -> Document:
    """Return a row of the list."""
    return _pick(plugin, _ROW)


def body(plugin: Document) -> Sequence[Document]:
    """Return one plugin, read by itself."""
    return [
        {
            **_pick(plugin, _IDENTITY),
            "ControllersHealthy": plugin["ControllersHealthy"],
            "Controllers": {
                node_id: {
                    **_fingerprint(one),
                    "ControllerInfo": _pick(one["ControllerInfo"], _CONTROLLER),
                }
                for node_id, one in plugin["Controllers"].items()
            },
            "NodesHealthy": plugin["NodesHealthy"],
            "Nodes": {
                node_id: {**_fingerprint(one), "NodeInfo": _node_info(one["NodeInfo"])}
                for node_id, one in plugin["Nodes"].items()
            },
        }
    ]


def _fingerprint(one: Document) -> Document:
    picked = _pick(one, _FINGERPRINT)
    seconds, _, fraction = picked["UpdateTime"].removesuffix("Z").partition(".")
    return {**picked, "UpdateTime": f"{seconds}.{fraction[:3].ljust(3, '0')}Z"}


def _node_info(info: Document) -> Document:
    topology = info["AccessibleTopology"]
    return {
        **_pick(info, _NODE),
        "AccessibleTopology": topology["Segments"] if topology is not None else None,
    }


def _pick(document: Document, keys: Sequence[str]) -> dict[str, Any]:
    return {key: document[key] for key in keys}
