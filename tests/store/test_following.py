"""A separate process that follows a server's store, and what a follower must not disturb."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from plugind.store.base import FIRST_INDEX
from plugind.store.sqlite import SqliteStore
from plugind.testing.stores.making import commit, instance, node, put
from tests.promises import PATIENCE
from tests.support import eventually

FOLLOWER = """
import sys, threading, time
from pathlib import Path
from plugind.store.sqlite import SqliteStore
store = SqliteStore(None, Path(sys.argv[1]), shared=True)
print("ready", flush=True)
for batch in store.follow(1, threading.Event()):
    seen = time.monotonic_ns()
    for each in batch:
        print(each.index, seen, flush=True)
"""
COMMITS = 60
MEDIAN = 0.05
"""Seconds within which another process must see half of all commits."""


@pytest.mark.alone
def test_another_process_sees_a_commit_soon(tmp_path: Path) -> None:
    store = SqliteStore(None, tmp_path, shared=True)
    with subprocess.Popen(
        [sys.executable, "-c", FOLLOWER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            delays = []
            for number in range(COMMITS):
                (index,) = commit(store, put(node(number)))
                committed = time.monotonic_ns()
                found, seen = map(int, process.stdout.readline().split())
                assert found == index
                delays.append((seen - committed) / 1e9)
                time.sleep(0.002 * (number % 7))  # out of step with the follower's looks
        finally:
            process.kill()
    store.close()
    delays.sort()
    print(f"median {statistics.median(delays) * 1e3:.2f} ms, largest {delays[-1] * 1e3:.2f} ms")
    assert statistics.median(delays) < MEDIAN


def test_an_interrupted_wait_returns_at_once(tmp_path: Path) -> None:
    store, found = SqliteStore(None, tmp_path), list[bool]()
    waiter = threading.Thread(target=lambda: found.append(store.wait(FIRST_INDEX, 10 * PATIENCE)))
    waiter.start()

    def has_returned() -> bool:
        store.interrupt()  # the first one may come before the wait begins
        return not waiter.is_alive()

    eventually(has_returned)
    assert found == [False]
    store.close()


def test_two_processes_write_the_same_store(tmp_path: Path) -> None:
    writer = (
        "import sys; from pathlib import Path\n"
        "from plugind.store.sqlite import SqliteStore\n"
        "from plugind.testing.stores.making import commit, node, put\n"
        "store = SqliteStore(None, Path(sys.argv[1]), shared=True)\n"
        "for number in range(50): commit(store, put(node(int(sys.argv[2]) + number)))\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", writer, str(tmp_path), str(start)])
        for start in (0, 1_000)
    ]
    assert [process.wait(60) for process in running] == [0, 0]
    store = SqliteStore(None, tmp_path)
    assert len(store.load().nodes) == 100
    assert [each.index for each in store.read(FIRST_INDEX)] == list(range(2, 102))
    store.close()


def test_a_slow_follower_does_not_let_the_log_of_sqlite_grow(tmp_path: Path) -> None:
    store = SqliteStore(None, tmp_path, shared=True)
    follower = SqliteStore(None, tmp_path, shared=True)
    commit(store, put(node(), instance(1, "first")))
    batches = follower.follow(FIRST_INDEX, threading.Event())
    next(batches)
    for number in range(400):
        commit(store, put(instance(1, f"p{number % 20}", text="x" * 20_000, n=number)))
    assert (tmp_path / "plugind.db-wal").stat().st_size < 12 * 2**20
    assert next(batches)
    store.close()
    follower.close()


def test_opening_and_closing_one_store_drops_no_lock_of_another(tmp_path: Path) -> None:
    """Close no descriptor of the file, which would drop the locks of the process (fcntl(2))."""
    store = SqliteStore(None, tmp_path, shared=True)
    commit(store, put(node()))
    locks = _locks(tmp_path)
    assert locks
    SqliteStore(None, tmp_path, shared=True).close()
    SqliteStore.check(None, tmp_path)
    SqliteStore.backup(None, tmp_path, tmp_path / "copy")
    store.beat({})
    # The kernel also lists the locks of other processes, page by page.
    eventually(lambda: _locks(tmp_path) == locks)
    store.close()


def _locks(folder: Path) -> set[tuple[str, ...]]:
    """Return the POSIX locks that this process holds on a store's files (proc_locks(5))."""
    inodes = {str((folder / f"plugind.db{part}").stat().st_ino) for part in ("", "-shm")}
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return {
        tuple(each[1:])
        for each in lines
        if each[1] == "POSIX" and each[4] == str(os.getpid()) and each[5].split(":")[-1] in inodes
    }
