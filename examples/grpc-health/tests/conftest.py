"""Real servers on sockets, and a prober of their type."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from plugind_grpc_health import GrpcType
from plugind_grpc_health.prober import GrpcProber
from plugind_grpc_health.sample import Sample

Serve = Callable[[str], Sample]


@pytest.fixture(scope="session")
def plugind_type() -> str:
    return "grpc"


@pytest.fixture(scope="session")
def plugind_block() -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:  # short: a socket's path has at most 107 bytes
        sample = Sample(f"{folder}/up.sock")
        yield {
            "service": {
                "up": {"endpoint": f"unix://{folder}/up.sock"},
                "down": {"endpoint": f"unix://{folder}/down.sock"},
            }
        }
        sample.stop()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    """Yield a function that starts a server on a socket in the folder."""
    with ExitStack() as until_end:

        def start(name: str) -> Sample:
            sample = Sample(str(folder / name))
            until_end.callback(sample.stop)
            return sample

        yield start


@pytest.fixture
def make() -> Iterator[Callable[..., GrpcProber]]:
    """Yield a function that makes a prober for services by ID; close all connections at the end."""
    with ExitStack() as until_end:

        def prober(**services: dict[str, str]) -> GrpcProber:
            block = {"service": services, "probe_timeout": "500ms"}
            made = GrpcProber(GrpcType.settings_schema().load(block))
            for target in made.discover().values():
                until_end.callback(made.close, target)
            return made

        yield prober
