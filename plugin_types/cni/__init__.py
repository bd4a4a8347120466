"""The CNI plugin type: the executables of the Container Network Interface, and the networks that
are configured with them.

An executable and a network are plugins of their own, told apart by their roles: a network is to be
healthy on every node, whatever executables it needs there.
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
    """What gives containers their networks."""

    plugind_api = 1
    name = "cni"
    title = "Container Network Interface"
    roles = ROLES
    default_role = NETWORK  # only a network's file can be so broken that it never said what it is
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
        """Also where there is no CNI yet: it may be installed while the agent runs."""
        prober: Prober = resolve_name("plugin_types.cni.prober:CniProber")(settings)
        return prober

    def dev_settings(self, folder: Path) -> Mapping[str, Any]:
        return settings.dev_settings(folder)


@hookimpl
def plugind_plugin_types() -> Sequence[PluginType]:
    return [CniType()]
