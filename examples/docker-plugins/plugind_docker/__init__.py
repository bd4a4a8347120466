"""The docker plugin type: programs that speak Docker's plugin API on a machine
(https://docs.docker.com/engine/extend/plugin_api/).

A plugin is a volume, network, authorization or log driver that Docker finds by its name. This type
finds the same plugins in the same places, and sends each the first request that Docker sends, which
asks what the plugin implements.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

from plugind.model import Fingerprint
from plugind.plugin_type import PluginType, Prober, WireSchema, hookimpl
from plugind_docker.prober import DockerProber
from plugind_docker.schemas import DockerFingerprintSchema, ImplementsSchema
from plugind_docker.settings import DockerSettings, DockerSettingsSchema


class DockerType(PluginType):
    """Docker's plugins."""

    plugind_api = 1
    name = "docker"
    title = "Docker plugins"
    roles: ClassVar[Mapping[str, str]] = {"node": "Nodes"}
    default_role = "node"
    settings_schema = DockerSettingsSchema
    fingerprint_schemas: ClassVar[Mapping[str, type[WireSchema]]] = {
        "node": DockerFingerprintSchema
    }
    row_schema = ImplementsSchema
    body_schema = ImplementsSchema

    def summary(self, fingerprints: Mapping[str, Collection[Fingerprint]]) -> Mapping[str, Any]:
        """Return the subsystems that any of the plugin's instances implements."""
        reported = (one.details.get("Implements", ()) for one in fingerprints.get("node", ()))
        return {"Implements": sorted({subsystem for each in reported for subsystem in each})}

    def prober(self, settings: DockerSettings) -> Prober:
        return DockerProber(settings)


@hookimpl
def plugind_plugin_types() -> Sequence[PluginType]:
    return [DockerType()]
