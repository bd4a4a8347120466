"""Drivers started the way Nomad starts them, in each of its layouts, but without Nomad."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from plugin_types.csi.control import control_path
from plugin_types.csi.sockets import unreachable
from tests.processes import Machine, Process
from tests.support import eventually

OLD, MOUNTS, ENVIRONMENT, BARE = LAYOUTS = ("old", "new-mounts", "new-environment", "new-bare")

# Mounts folders as Nomad does for a container, in a mount namespace of the driver's own.
_MOUNT = (
    'while [ "$1" != -- ]; do mount --bind "$1" "$2" && shift 2 || exit 1; done; shift; exec "$@"'
)


@dataclass
class Allocation:
    """One allocation of a driver's job: its folder survives a restart of its task."""

    nomad: Nomad
    layout: str
    kind: str
    id: str
    job: str
    alloc_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    process: Process | None = None

    @property
    def folder(self) -> Path:
        if self.layout == OLD:
            return self.nomad.root / self.kind / self.id
        return self.nomad.root / "plugins" / self.alloc_id

    @property
    def socket(self) -> Path:
        return self.folder / "csi.sock"

    def start(self, *options: str, serves: bool = True) -> Allocation:
        """Start the driver, which serves both halves unless its options say otherwise."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.nomad.root / self.kind / self.id).mkdir(parents=True, exist_ok=True)
        self.process = self.nomad.machine.start(
            *("csi-sample", "--socket", self.socket, *options),
            environ=self._environment(),
            wrapper=self._wrapper(),
        )
        for place in (str(self.socket), control_path(str(self.socket))):
            eventually(lambda place=place: not unreachable(place))
        return self

    def kill(self) -> None:
        """Kill the driver, which leaves its socket behind."""
        assert self.process
        self.process.kill()

    def stop(self) -> None:
        """Stop the job: in the new layout Nomad removes the allocation's folder."""
        self.kill()
        if self.layout != OLD:
            shutil.rmtree(self.folder)

    def _environment(self) -> Mapping[str, str]:
        if self.layout not in (OLD, ENVIRONMENT):
            return {}
        return {
            "NOMAD_ALLOC_ID": self.alloc_id,
            "NOMAD_ALLOC_NAME": f"{self.job}.drivers[0]",
            "NOMAD_JOB_ID": self.job,
            "NOMAD_GROUP_NAME": "drivers",
            "NOMAD_TASK_NAME": "plugin",
        }

    def _wrapper(self) -> list[str | Path]:
        if self.layout != MOUNTS:
            return []
        inside = self.nomad.machine.folder / "inside" / self.alloc_id
        pairs = {
            self.folder: inside / "csi",
            self.nomad.root / self.kind / self.id: inside / "staging",
        }
        for place in pairs.values():
            place.mkdir(parents=True, exist_ok=True)
        mounts = [path for pair in pairs.items() for path in pair]
        return ["unshare", "-m", "sh", "-c", _MOUNT, "sh", *mounts, "--"]


@dataclass
class Nomad:
    """Nomad's folder ``csi`` on a machine."""

    machine: Machine

    @property
    def root(self) -> Path:
        return self.machine.folder / "client" / "csi"

    @property
    def glob(self) -> str:
        return f"{self.root}/*/*/csi.sock"

    def allocation(self, layout: str, kind: str, id: str = "hostpath", job: str = "") -> Allocation:
        return Allocation(self, layout, kind, id, job or f"{id}-{kind}")
