"""Which targets of plugind's own types count as named by the agent's configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from plugind.plugin_type import Prober
from plugind.types.registry import plugin_type


def prober(type: str, block: dict[str, Any]) -> Prober:
    found = plugin_type(type)
    made = found.prober(found.settings_schema().load(block))
    assert made is not None
    return made


def configured(made: Prober) -> dict[str, bool]:
    """Return whether each target is configured, by the target's name."""
    return {name: made.is_configured(target) for name, target in made.discover().items()}


def test_a_driver_that_a_block_names(tmp_path: Path) -> None:
    (tmp_path / "found.sock").touch()
    named = {"endpoint": f"unix://{tmp_path}/named.sock"}
    block = {"sockets": [f"{tmp_path}/*.sock"], "instance": {"named": named}}
    assert configured(prober("csi", block)) == {
        f"{tmp_path}/found.sock": False,
        f"{tmp_path}/named.sock": True,
    }


def test_every_check() -> None:
    assert configured(prober("exec", {"check": {"disk": {"command": ["/bin/true"]}}})) == {
        "disk": True
    }


def test_a_network_and_the_executables_that_it_names(tmp_path: Path) -> None:
    for name in ("bridge", "spare"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    network = {"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"}]}
    (tmp_path / "pods.conflist").write_text(json.dumps(network))
    found = configured(prober("cni", {"bin_dirs": [str(tmp_path)], "conf_dir": str(tmp_path)}))
    by_file = {Path(name).name: value for name, value in found.items()}
    assert (by_file["pods.conflist"], by_file["bridge"], by_file["spare"]) == (True, True, False)
