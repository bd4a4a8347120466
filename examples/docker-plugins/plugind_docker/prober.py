"""Probes the plugins of one machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugind.errors import ProbeFailed
from plugind.fields import ID_PATTERN
from plugind.plugin_type import Prober
from plugind_docker.finding import Target, find_targets, place_of
from plugind_docker.handshake import activate
from plugind_docker.settings import DockerSettings


class DockerProber(Prober):
    """Finds and probes Docker's plugins; each plugin is a target, named like the plugin."""

    def __init__(self, settings: DockerSettings) -> None:
        self._settings = settings

    def discover(self) -> Mapping[str, Target]:
        return find_targets(self._settings)

    def probe(self, target: Target) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        if not ID_PATTERN.fullmatch(target.name):
            raise ProbeFailed(f"{target.file}: its name is not valid as a plugin's ID in plugind")
        place = place_of(target)
        implements = activate(place, self._settings.probe_timeout)
        return {
            (target.name, "node"): {
                "Healthy": True,
                "HealthDescription": "healthy",
                "Implements": implements,
                "Address": place.url,
            }
        }
