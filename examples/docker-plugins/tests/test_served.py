"""The type as plugind serves it: one real process that is server and agent, and a real plugin."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve

WAIT = 60.0


def eventually(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT
    while not (found := look()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    log = folder / "log"
    config = folder / "plugind.hcl"
    config.write_text(
        f"""
        data_dir = "{folder}/data"
        ports {{ http = 0 }}
        server {{ enabled = true }}
        client {{ enabled = true }}
        plugin_types {{ enabled = ["docker"] }}
        plugin_type "docker" {{
          sockets = "{folder}/run"
          specs   = []
        }}
        """
    )
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PLUGIND_")}
    with log.open("wb") as stream:
        command = [sys.executable, "-m", "plugind", "agent", "--config", str(config)]
        process = subprocess.Popen(command, stderr=stream, env=environ)
    try:
        yield eventually(lambda: re.search(r"address=(http://\S+)", log.read_text()))[1]
    finally:
        process.terminate()
        process.wait(60)


def test_a_plugin_comes_and_dies(folder: Path, serve: Serve, address: str) -> None:
    def rows() -> Any:
        with urllib.request.urlopen(f"{address}/v1/plugins?type=docker", timeout=60) as answer:
            return json.load(answer)

    plugin = serve("run/flocker.sock")
    (row,) = eventually(rows)
    assert (row["ID"], row["Implements"], row["NodesHealthy"]) == ("flocker", ["VolumeDriver"], 1)
    plugin.status = 500
    eventually(lambda: rows()[0]["NodesHealthy"] == 0)
    assert rows()[0]["Implements"] == ["VolumeDriver"], "what it was able to do is still known"
