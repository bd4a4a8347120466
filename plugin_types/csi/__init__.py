"""The CSI plugin type: storage drivers that speak the Container Storage Interface.

Every ``plugind`` command imports this package, so modules that are slow to import (gRPC,
watchfiles) are resolved by name only where they are needed: in an agent's child process, and in the
sample driver.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar

import click

from plugin_types.csi import document, settings
from plugin_types.csi.roles import CONTROLLER, NODE, ROLES
from plugin_types.csi.sample_cli import csi_command, csi_sample
from plugin_types.csi.schemas import (
    BodySchema,
    ControllerFingerprintSchema,
    NodeFingerprintSchema,
    RowSchema,
)
from plugin_types.csi.settings import CsiSettings, CsiSettingsSchema
from plugin_types.csi.summary import summarise
from plugind.model import Fingerprint
from plugind.plugin_type import PluginType, Prober, WireSchema, hookimpl


class CsiType(PluginType):
    """Storage drivers, with Nomad's names on the wire."""

    plugind_api = 1
    name = "csi"
    title = "Container Storage Interface"
    roles = ROLES
    default_role = NODE
    version_detail = "ProviderVersion"
    settings_schema = CsiSettingsSchema
    fingerprint_schemas: ClassVar[Mapping[str, type[WireSchema]]] = {
        CONTROLLER: ControllerFingerprintSchema,
        NODE: NodeFingerprintSchema,
    }
    row_schema = RowSchema
    body_schema = BodySchema
    node_keys: ClassVar[Mapping[str, str]] = {
        CONTROLLER: "CSIControllerPlugins",
        NODE: "CSINodePlugins",
    }

    capabilities = ("csi-list-volume", "csi-mount-volume", "csi-read-volume", "csi-write-volume")

    def summary(self, fingerprints: Mapping[str, Collection[Fingerprint]]) -> Mapping[str, Any]:
        return summarise(fingerprints)

    def document_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return document.row(row)

    def document_body(self, body: Mapping[str, Any]) -> Any:
        return document.body(body)

    def prober(self, settings: CsiSettings) -> Prober:
        # gRPC writes lines of its own to standard error, which are not in the format of the log and
        # add nothing to the result of a probe.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        prober: Prober = resolve_name("plugin_types.csi.prober:CsiProber")(settings)
        return prober

    def dev_settings(self, folder: Path) -> Mapping[str, Any]:
        return settings.dev_settings(folder)


@hookimpl
def plugind_plugin_types() -> Sequence[PluginType]:
    return [CsiType()]


@hookimpl
def plugind_commands(group: click.Group) -> None:
    group.add_command(csi_sample)
    group.add_command(csi_command)
