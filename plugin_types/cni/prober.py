"""Fingerprints CNI's executables, and the networks that need them, on this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from plugin_types.cni.asking import Asker
from plugin_types.cni.finding import (
    Executable,
    ExecutableTarget,
    NetworkTarget,
    Target,
    find_targets,
)
from plugin_types.cni.networks import Need, plugin_id
from plugin_types.cni.schemas import EXECUTABLE, NETWORK
from plugin_types.cni.settings import CniSettings
from plugind.errors import ProbeFailed
from plugind.plugin_type import Prober
from plugind.toolbox.folders import watch_forever

Results = dict[tuple[str, str], dict[str, Any]]


class CniProber(Prober):
    """Asks executables for their versions; a network's health follows from their answers."""

    def __init__(self, settings: CniSettings) -> None:
        self._settings = settings
        self._changed: Callable[[str | None], None] = lambda name: None
        self._lock = threading.Lock()
        self._askers: dict[Executable, Asker] = {}

    def discover(self) -> Mapping[str, Target]:
        targets = find_targets(self._settings)
        there = {
            target.executable for target in targets.values() if isinstance(target, ExecutableTarget)
        }
        with self._lock:
            self._askers = {one: asker for one, asker in self._askers.items() if one in there}
        return targets

    def instances_of(self, target: Target) -> Collection[tuple[str, str]] | None:
        if isinstance(target, ExecutableTarget):
            return [(plugin_id(target.executable.name), EXECUTABLE)]
        if target.network.name:
            return [(target.network.id, NETWORK)]
        return None  # it is shown under the name of its file

    def is_configured(self, target: Target) -> bool:
        """Return whether the target is a network, or an executable that a network needs."""
        return isinstance(target, NetworkTarget) or bool(target.networks)

    def watch(self, changed: Callable[[str | None], None]) -> None:
        self._changed = changed
        watch_forever(lambda: self._settings.folders, partial(changed, None))

    def probe(self, target: Target) -> Results:
        if isinstance(target, NetworkTarget):
            return self._network(target)
        return self._executable(target)

    def _executable(self, target: ExecutableTarget) -> Results:
        executable = target.executable
        if not target.runs:
            return {}
        answer, is_changed = self._asker(executable).ask()
        if is_changed:
            for network in target.networks:
                self._changed(network.file)
        fingerprint = {
            **_verdict(answer.problem),
            "Path": executable.path,
            "UsedBy": sorted({network.id for network in target.networks}),
        }
        if not answer.problem:
            fingerprint["SupportedVersions"] = list(answer.versions)
        return {(plugin_id(executable.name), EXECUTABLE): fingerprint}

    def _network(self, target: NetworkTarget) -> Results:
        network = target.network
        if not network.name:
            raise ProbeFailed(network.problem)  # shown on the network that the file last had
        problems = (self._problem(*needed) for needed in target.executables)
        problem = network.problem or "; ".join(dict.fromkeys(filter(None, problems)))
        fingerprint = {**_verdict(problem), "Path": network.path}
        if not network.problem:
            fingerprint |= {"CNIVersion": network.versions[-1], "Needs": list(network.executables)}
        return {(network.id, NETWORK): fingerprint}

    def _problem(self, need: Need, executable: Executable | None) -> str:
        """Return why an executable does not serve the network that needs it.

        The result is "" when it does, or when that is unknown because the executable is never run.
        """
        if executable is None:
            return self._missing(need.name)
        if not executable.runs:
            return ""
        answer = self._asker(executable).last()
        if answer.problem:
            return f"{executable.path} is unhealthy: {answer.problem}"
        if not set(need.versions) & set(answer.versions):
            supported = ", ".join(answer.versions)
            return f"{executable.path} supports CNI {supported}, not {' or '.join(need.versions)}"
        return ""

    def _missing(self, name: str) -> str:
        for folder in self._settings.bin_dirs:
            if os.path.exists(path := os.path.join(folder, name)):
                return f"{path} cannot be run, and the network needs it"
        folders = " or ".join(self._settings.bin_dirs)
        return f"there is no {name} in {folders}, and the network needs it"

    def _asker(self, executable: Executable) -> Asker:
        with self._lock:
            if executable not in self._askers:
                self._askers[executable] = Asker(executable.path, self._settings.probe_timeout)
            return self._askers[executable]


def _verdict(problem: str) -> dict[str, Any]:
    return {"Healthy": not problem, "HealthDescription": problem or "healthy"}
