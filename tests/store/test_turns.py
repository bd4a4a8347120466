"""Writers in several processes take turns: fairly, for a bounded time, and identified by name."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from plugind.errors import StoreError
from plugind.store.sqlite import SqliteStore, turn
from plugind.store.sqlite.settings import SqliteSettings
from plugind.store.sqlite.turn import Turn
from plugind.testing.stores.making import commit, node, put
from tests.promises import PATIENCE
from tests.store.children import child
from tests.support import eventually

HOLDS = """
with store._turn():
    say("held")
    hear()
say("free")
hear()
"""
WRITES = """
say("ready"); hear()
until, done = time.monotonic() + 3, 0
while time.monotonic() < until:
    store.commit(blind(int(sys.argv[2]) + done % 500)); done += 1
say(done)
"""
SHORT = SqliteSettings(lock_timeout=0.2)


def test_four_writers_get_like_shares(tmp_path: Path) -> None:
    with ExitStack() as stack:
        writers = [stack.enter_context(child(tmp_path, WRITES, n * 1000)) for n in range(4)]
        assert {each.hear() for each in writers} == {"ready"}
        for each in writers:
            each.say()
        done = [int(each.hear()) for each in writers]
    shares = [round(100 * each / sum(done)) for each in done]
    print(f"shares in percent: {shares}")
    assert min(shares) > 15


def test_a_write_ends_in_time_and_succeeds_once_the_other_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "LONG_HELD", 0.1)
    script = """
say("open")
while hear():
    with store._turn():
        say("held"); hear()
    say("free")
"""
    with (
        child(tmp_path, script, lock_timeout=0.2) as other,
        closing(SqliteStore(SHORT, tmp_path, shared=True)) as store,
    ):
        assert other.hear() == "open"
        for number in range(3):
            other.say("hold")
            assert other.hear() == "held"
            os.kill(other.pid, signal.SIGSTOP)
            for _ in range(2):  # the second call finds the wait of the first
                with pytest.raises(StoreError, match=f"process {other.pid}: if .* is stopped"):
                    store.commit([put(node(number))])
            assert f"process {other.pid} has held" in eventually(lambda: store.trouble)
            os.kill(other.pid, signal.SIGCONT)
            other.say()
            assert other.hear() == "free"
            assert isinstance(eventually(partial(_index, store, number)), int)
            assert store.trouble == ""


def _index(store: SqliteStore, number: int) -> int | None:
    try:
        return commit(store, put(node(number)))[0]
    except StoreError:
        return None


def test_a_wait_that_was_given_up_holds_nothing(tmp_path: Path) -> None:
    one, two, three = (Turn(tmp_path / "turn", 0.1) for _ in range(3))
    with one.held(), pytest.raises(StoreError), two.held():
        pass
    with three.held(PATIENCE):  # by then the thread of ``two`` has released the lock
        pass
    with one.held(), pytest.raises(StoreError), two.held():
        pass
    with two.held(PATIENCE):  # ``two`` continues its own earlier wait
        assert three._is_held()
    assert not three._is_held()
    with one.held():
        with pytest.raises(StoreError), two.held():
            pass
        two.close()  # while the thread of ``two`` waits
    eventually(lambda: not _is_open(two._file))
    with three.held():
        pass
    one.close()
    three.close()


def test_a_wait_without_a_thread_fails_and_holds_up_no_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> int:
        raise RuntimeError("can't start new thread")

    one, two = (Turn(tmp_path / "turn", PATIENCE) for _ in range(2))
    with one.held():
        monkeypatch.setattr(_thread, "start_new_thread", refuse)
        with pytest.raises(StoreError, match="no more threads: raise its limit"), two.held():
            pass
    with two.held():  # the lock is free, and no thread is needed
        assert one._is_held()
    one.close()
    two.close()
    assert not _is_open(two._file)


def _is_open(file: int) -> bool:
    try:
        os.fstat(file)
    except OSError:
        return False
    return True


def test_a_killed_writer_leaves_the_lock_free(tmp_path: Path) -> None:
    with child(tmp_path, HOLDS) as holder:
        assert holder.hear() == "held"
        holder.kill()
        with closing(SqliteStore(None, tmp_path, shared=True)) as store:
            commit(store, put(node(1)))


def test_one_process_alone_needs_no_lock(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from plugind.store.sqlite import SqliteStore\n"
        "from plugind.testing.stores.making import commit, node, put\n"
        "store = SqliteStore(None, Path(sys.argv[1])); commit(store, put(node(1)))\n"
        "store.beat({}); store.has_duty(); store.newest()\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=PATIENCE)
    names = {path.name for path in tmp_path.iterdir()}
    assert not names & {"plugind.db.turn", "beats.db.turn", "index"}
