from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from plugin_types.cni import CniType
from plugin_types.cni.prober import CniProber
from tests.support import needs

REAL = Path("/usr/lib/cni")


def real(name: str) -> Path:
    """Return the path of a real executable from Debian's package."""
    needs(str(REAL / name), "containernetworking-plugins")
    return REAL / name


@dataclass
class Host:
    """The folders of a machine with CNI, and a prober that watches them."""

    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def conf(self) -> Path:
        return self.folder / "net.d"

    def install(self, *names: str) -> None:
        for name in names:
            (self.bin / name).symlink_to(real(name))

    def script(self, name: str, body: str) -> Path:
        """Write an executable that runs these lines of shell."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    def configure(self, file: str, document: Any) -> Path:
        path = self.conf / file
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    def prober(self, **settings: Any) -> CniProber:
        block = {"bin_dirs": [str(self.bin)], "conf_dir": str(self.conf), "probe_timeout": "20s"}
        loaded = CniType.settings_schema().load({**block, **settings})
        prober = CniType().prober(loaded)
        assert isinstance(prober, CniProber)
        return prober

    def probe(self, prober: CniProber | None = None) -> dict[tuple[str, str], Mapping[str, Any]]:
        """Return the fingerprints of all current targets."""
        prober = prober or self.prober()
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for target in prober.discover().values():
            found |= prober.probe(target)
        return found

    def health(self, prober: CniProber | None = None) -> dict[tuple[str, str], str]:
        return {key: one["HealthDescription"] for key, one in self.probe(prober).items()}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path)
    made.bin.mkdir()
    made.conf.mkdir()
    return made
