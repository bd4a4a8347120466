"""Exports and imports use little memory, however much data there is."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plugind.model import PluginKey, Stamp, StoredTransition, node_of, plugins_of
from plugind.model.times import SECOND
from plugind.store import exporting
from plugind.store.base import no_progress
from plugind.store.exporting import Item, Stamped
from plugind.store.sqlite import SqliteStore
from plugind.store.staging import staged
from plugind.testing.stores.making import TIME, instance, node, node_id, transition
from tests.promises import COMMAND_MAXIMUM

PER_NODE = 20

BOUND = 160 * 2**20
"""The maximum memory of a command in bytes. The interpreter with plugind's modules uses a third of
it, and the pages that SQLite caches 16 MiB."""

REASON = "the volume group is at 97 percent of its size, above the limit of 90 percent: " * 2

MEASURED = """
import re, sys
from pathlib import Path
from plugind.__main__ import main
try:
    main()
finally:
    found = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    print(int(found[1]) * 1024, file=sys.stderr)
"""


def made(instances: int, transitions: int) -> Iterator[Item]:
    """Yield the items that a store of that size exports."""
    nodes = instances // PER_NODE
    names = [f"driver-{number}" for number in range(PER_NODE)]
    for number in range(nodes):
        yield node(number, attributes={"kernel": "6.1", "rack": f"r{number % 40}"})
    for number in range(nodes):
        for name in sorted(names):
            one = instance(number, name, endpoint="/var/lib/plugins/socket", requires=["a", "b"])
            yield one.changed(digest="d" * 32)
    stamp = Stamp(2, 3, TIME, TIME)
    resources = [node_of(node_id(number)) for number in range(nodes)]
    resources += [PluginKey("sample", name).resource for name in names]
    for resource in sorted([*resources, "nodes", plugins_of("sample")]):
        yield Stamped(resource, stamp)
    for seq in range(1, transitions + 1):
        moved = transition(
            "unhealthy", names[seq % PER_NODE], seq % nodes, time=TIME + seq * SECOND, reason=REASON
        )
        yield StoredTransition(seq, 2 + seq // 8, moved)


def write(file: Path, instances: int, transitions: int) -> None:
    nodes = instances // PER_NODE
    counts = {
        "node": nodes,
        "instance": instances,
        "stamp": nodes + PER_NODE + 2,
        "transition": transitions,
    }
    index = 2 + transitions // 8
    exporting.write(file, "x", index, counts, made(instances, transitions), no_progress)


def peak(task: Callable[[], object]) -> int:
    """Return the peak size of Python's objects in bytes, without SQLite's pages."""
    tracemalloc.start()
    try:
        task()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def peaks(folder: Path, instances: int, transitions: int) -> list[int]:
    folder.mkdir()
    file, again = folder / "export", folder / "again"

    def stage() -> None:
        with staged(again, folder, no_progress) as found:
            assert sum(1 for _ in found.read_all()) > transitions

    return [
        peak(lambda: write(file, instances, transitions)),
        peak(lambda: SqliteStore.import_(None, folder, file, ())),
        peak(lambda: SqliteStore.export(None, folder, again)),
        peak(stage),
    ]


def test_the_memory_does_not_grow_with_the_store(tmp_path: Path) -> None:
    few = peaks(tmp_path / "few", 1_000, 1_000)
    many = peaks(tmp_path / "many", 3_000, 5_000)
    for small, large in zip(few, many, strict=True):
        assert large < small + 2**20


def command(*words: str | Path) -> int:
    """Run a command of plugind, which must succeed. Return the bytes of memory that it used."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "store", *words],
        capture_output=True,
        text=True,
        timeout=10 * COMMAND_MAXIMUM,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stderr.splitlines()[-1])


@pytest.mark.soak
def test_a_hundred_thousand_instances_and_a_million_transitions(tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    file, again = tmp_path / "export", tmp_path / "again"
    write(file, 100_000, 1_000_000)
    taken = {
        "import": command("import", file, "--data-dir", data),
        "import over another": command("import", file, "--data-dir", data),
        "export": command("export", again, "--data-dir", data),
        "check": command("check", "--data-dir", data),
        "backup": command("backup", tmp_path / "copy.db", "--data-dir", data),
        "restore": command("restore", tmp_path / "copy.db", "--data-dir", other),
    }
    print({name: f"{size / 2**20:.0f} MiB" for name, size in taken.items()})
    with exporting.reading(again) as export:
        head = export.head
    assert head.counts
    assert (head.counts["instance"], head.counts["transition"]) == (100_000, 1_000_000)
    assert max(taken.values()) < BOUND, taken
