"""Runs of clients and faults against servers on one store, each examined by the checker.

A failure shows the seed and the faults; docs/architecture.md says how to repeat it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.consistency.rigs import TTL, in_process, processes
from tests.consistency.running import drive, is_sound
from tests.consistency.workers import workers

SEED = int(os.environ.get("CONSISTENCY_SEED", "6"))
SOAK = 180.0  # seconds
MANY = 10_000


def soak_seed() -> int:
    """Return the seed of a long run: a random one unless one is given."""
    return int(os.environ.get("CONSISTENCY_SEED", "0")) or time.time_ns() % 2**32


def test_two_servers_of_one_process(tmp_path: Path) -> None:
    with in_process(tmp_path, 2, wrap=lambda kind: kind) as rig:
        is_sound(drive(rig, SEED))


def test_three_servers_killed_paused_and_cut_off(tmp_path: Path) -> None:
    with processes(tmp_path, 3) as rig:
        is_sound(drive(rig, SEED, faults=5))


def test_four_workers_killed_and_paused(tmp_path: Path) -> None:
    with workers(tmp_path, 4, ttl=TTL) as rig:
        is_sound(drive(rig, SEED, faults=5))


@pytest.mark.soak
@pytest.mark.timeout(3 * SOAK)
def test_three_servers_for_minutes(tmp_path: Path) -> None:
    with processes(tmp_path, 3, ttl="5s") as rig:
        is_sound(drive(rig, soak_seed(), faults=MANY, seconds=SOAK, sleepers=2))


@pytest.mark.soak
@pytest.mark.timeout(3 * SOAK)
def test_four_workers_for_minutes(tmp_path: Path) -> None:
    with workers(tmp_path, 4, ttl="5s") as rig:
        is_sound(drive(rig, soak_seed(), faults=MANY, seconds=SOAK, sleepers=2))
