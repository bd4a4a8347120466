"""The exec plugin type: any program is a prober, by configuration alone.

Checks for Nagios, and those of the Monitoring Plugins project, run unchanged. A program that checks
several things prints a line of JSON for each.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pkgutil import resolve_name
from typing import Any, ClassVar

from plugin_types.exec.schemas import (
    CHECK,
    CRITICAL,
    OK,
    ROLES,
    UNKNOWN,
    WARNING,
    CheckFingerprintSchema,
    SummarySchema,
)
from plugin_types.exec.settings import ExecSettings, ExecSettingsSchema
from plugind.model import Fingerprint
from plugind.plugin_type import PluginType, Prober, WireSchema, hookimpl

_SEVERITY = ("", OK, WARNING, UNKNOWN, CRITICAL)


class ExecType(PluginType):
    """Programs of any kind."""

    plugind_api = 1
    name = "exec"
    title = "Programs that check something"
    roles = ROLES
    default_role = CHECK
    settings_schema = ExecSettingsSchema
    fingerprint_schemas: ClassVar[Mapping[str, type[WireSchema]]] = {CHECK: CheckFingerprintSchema}
    row_schema = SummarySchema
    body_schema = SummarySchema
    node_keys: ClassVar[Mapping[str, str]] = {CHECK: "ExecChecks"}

    def summary(self, fingerprints: Mapping[str, Collection[Fingerprint]]) -> Mapping[str, Any]:
        statuses = map(_current_status, fingerprints.get(CHECK, ()))
        return {"Status": max(statuses, key=_SEVERITY.index, default="")}

    def prober(self, settings: ExecSettings) -> Prober | None:
        if not settings.check:
            return None
        prober: Prober = resolve_name("plugin_types.exec.prober:ExecProber")(settings)
        return prober


def _current_status(fingerprint: Fingerprint) -> str:
    """Return the last status of a check; UNKNOWN if that was good but the check is not heard from
    any more."""
    status = str(fingerprint.details.get("Status", ""))
    return UNKNOWN if not fingerprint.healthy and status in ("", OK, WARNING) else status


@hookimpl
def plugind_plugin_types() -> Sequence[PluginType]:
    return [ExecType()]
