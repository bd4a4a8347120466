"""Folders like Docker's, and real plugins in them."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from plugind_docker import DockerType
from plugind_docker.prober import DockerProber
from plugind_docker.sample import SamplePlugin

Serve = Callable[..., SamplePlugin]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder with a short path, because a socket's path may have at most 107 bytes."""
    with tempfile.TemporaryDirectory() as name:
        for each in ("run", "etc", "lib"):
            (Path(name) / each).mkdir()
        yield Path(name)


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    """Yield a function that starts a plugin on a socket below the folder."""
    with ExitStack() as until_end:

        def start(path: str, *implements: str) -> SamplePlugin:
            (folder / path).parent.mkdir(exist_ok=True)
            plugin = SamplePlugin(str(folder / path), list(implements) or ["VolumeDriver"])
            until_end.callback(plugin.server_close)
            thread = threading.Thread(target=plugin.serve_forever, args=(0.01,))
            thread.start()
            until_end.callback(thread.join)
            until_end.callback(plugin.shutdown)
            until_end.callback(plugin.go.set)
            return plugin

        yield start


@pytest.fixture
def prober(folder: Path) -> DockerProber:
    block: dict[str, Any] = {
        "sockets": str(folder / "run"),
        "specs": [str(folder / "etc"), str(folder / "lib")],
        "probe_timeout": "500ms",
    }
    return DockerProber(DockerType.settings_schema().load(block))
