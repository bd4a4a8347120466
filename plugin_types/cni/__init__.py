"""The CNI plugin type: the executables of the Container Network Interface, and the networks that
are configured with them.

Each executable and each network is a plugin of its own, and its role shows which of them it is: a
network should be healthy on every node, no matter which executables it needs there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar

from plugin_types.cni import settings
from plugin_types.cni.schemas import (
    EXECUTABLE,
    NETWORK,
    ROLES,
    BodySchema,
    ExecutableFingerprintSchema,
    NetworkFingerprintSchema,
    RowSchema,
)
from plugin_types.cni.settings import CniSettings, CniSettingsSchema
from plugin_types.cni.summary import summarise
from plugind.model import Fingerprint
from plugind.plugin_type import PluginType, Prober, WireSchema, hookimpl


class CniType(PluginType):
    """The plugins that give containers their networks."""

    plugind_api = 1
    name = "cni"
    title = "Container Network Interface"
    roles = ROLES
    default_role = NETWORK  # only a network's file can be too broken to show its role
    version_detail = "CNIVersion"
    settings_schema = CniSettingsSchema
    fingerprint_schemas: ClassVar[Mapping[str, type[WireSchema]]] = {
        EXECUTABLE: ExecutableFingerprintSchema,
        NETWORK: NetworkFingerprintSchema,
    }
    row_schema = RowSchema
    body_schema = BodySchema
    node_keys: ClassVar[Mapping[str, str]] = {EXECUTABLE: "CNIExecutables", NETWORK: "CNINetworks"}

    def summary(self, fingerprints: Mapping[str, Collection[Fingerprint]]) -> Mapping[str, Any]:
        return summarise(fingerprints)

    def prober(self, settings: CniSettings) -> Prober:
        """Return the prober, even if CNI is not installed: it may be installed while the agent
        runs."""
        prober: Prober = resolve_name("plugin_types.cni.prober:CniProber")(settings)
        return prober

    def dev_settings(self, folder: Path) -> Mapping[str, Any]:
        return settings.dev_settings(folder)


@hookimpl
def plugind_plugin_types() -> Sequence[PluginType]:
    return [CniType()]
