"""The newest index, as each process knows it: it covers every change acknowledged anywhere."""

from __future__ import annotations

import os
import struct
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import ClassVar

import pytest

from plugind.store.base import FIRST_INDEX
from plugind.store.sqlite import SqliteStore
from plugind.store.sqlite.published import Published
from plugind.testing.stores.making import commit, node, put
from tests.promises import PATIENCE
from tests.store.children import child

KILLED_BEFORE_ITS_PUBLICATION = """
import signal
store._wake.publish = lambda index: os.kill(os.getpid(), signal.SIGKILL)
say("ready"); hear()
store.commit(blind(1))
"""
UNPUBLISHED = """
real = os.pwrite
def pwrite(file, data, at):
    if file == store._wake._file:
        raise OSError(28, "No space left on device")
    return real(file, data, at)
os.pwrite = pwrite
say("ready")
while hear():
    say(store.commit(blind(1))[0], bool(store.trouble))
"""
ANSWERS = """
say("ready")
number = 0
while hear():
    number += 1
    say(store.commit(blind(int(sys.argv[2]) + number % 100))[0])
"""


def shared(folder: Path) -> closing[SqliteStore]:
    return closing(SqliteStore(None, folder, shared=True))


def published(folder: Path) -> int:
    (index,) = struct.unpack("=Q", (folder / "index").read_bytes())
    return int(index)


def test_the_file_has_the_index_and_is_never_replaced(tmp_path: Path) -> None:
    with shared(tmp_path) as store:
        before = (tmp_path / "index").stat()
        assert before.st_size == 8
        assert published(tmp_path) == FIRST_INDEX == store.newest()
        for number in range(5):
            (index,) = commit(store, put(node(number)))
            assert published(tmp_path) == index == store.newest()
        after = (tmp_path / "index").stat()
        assert (before.st_ino, after.st_size) == (after.st_ino, 8)


@pytest.mark.parametrize(
    "left", [b"", b"12                  \n", struct.pack("=Q", 1), struct.pack("=Q", 99), b"x" * 99]
)
def test_what_was_left_in_the_file_counts_for_nothing(tmp_path: Path, left: bytes) -> None:
    with shared(tmp_path) as store:
        (index,) = commit(store, put(node(1)))
    (tmp_path / "index").write_bytes(left)
    with shared(tmp_path) as store:
        assert store.newest() == published(tmp_path) == index
        assert (tmp_path / "index").stat().st_size == 8


def test_after_a_process_alone_the_others_know_its_index(tmp_path: Path) -> None:
    with shared(tmp_path) as store:
        commit(store, put(node(1)))
    with closing(SqliteStore(None, tmp_path)) as alone:
        (index,) = commit(alone, put(node(2)))
        assert alone.newest() == index
    with shared(tmp_path) as store:
        assert store.newest() == index


def test_a_writer_killed_after_its_commit_is_noticed_by_looking(tmp_path: Path) -> None:
    with shared(tmp_path) as store, child(tmp_path, KILLED_BEFORE_ITS_PUBLICATION) as other:
        assert other.hear() == "ready"
        other.say()
        assert other.hear() == ""
        assert published(tmp_path) == FIRST_INDEX
        assert store.wait(FIRST_INDEX, PATIENCE)
        assert store.newest() == FIRST_INDEX + 1
        assert len(store.read(FIRST_INDEX)) == 1
        (index,) = commit(store, put(node(2)))
        assert published(tmp_path) == index == FIRST_INDEX + 2


def test_what_cannot_be_published_is_known_before_it_is_acknowledged(tmp_path: Path) -> None:
    with shared(tmp_path) as store, child(tmp_path, UNPUBLISHED) as other:
        assert other.hear() == "ready"
        for _ in range(5):
            store.newest()  # its last look is just before the commit
            other.say("commit")
            index, is_trouble = other.hear().split()
            assert store.newest() == int(index)
            assert is_trouble == "True"


def test_each_acknowledged_change_is_known_at_once(tmp_path: Path) -> None:
    with (
        shared(tmp_path) as store,
        child(tmp_path, ANSWERS, 1) as one,
        child(tmp_path, ANSWERS, 1_000) as two,
    ):
        assert {one.hear(), two.hear()} == {"ready"}
        for number in range(200):
            writer = (one, two)[number % 2]
            writer.say("commit")
            index = int(writer.hear())
            assert store.newest() >= index
            assert store.read(index - 1)[0].index == index


def test_the_index_never_falls_while_many_write(tmp_path: Path) -> None:
    over, seen = threading.Event(), [0]

    def watch() -> None:
        while not over.is_set():
            seen.append(store.newest())

    with shared(tmp_path) as store, shared(tmp_path) as one, shared(tmp_path) as two:
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            writers = [
                threading.Thread(target=_write, args=(each, 1_000 * number))
                for number, each in enumerate((one, two))
            ]
            for each in writers:
                each.start()
            for each in writers:
                each.join()
        finally:
            over.set()
            watcher.join()
        assert seen == sorted(seen)
        assert store.newest() == FIRST_INDEX + 100


def _write(store: SqliteStore, start: int) -> None:
    for number in range(50):
        store.commit([put(node(start + number), base=1, reads=frozenset())])


def test_a_number_that_is_half_written_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Torn:
        """A number as read in the middle of the write from 0xFF to 0x100."""

        found: ClassVar = iter([0x1FF, 0x100, 0x100])

        def __getitem__(self, _: int) -> int:
            return next(self.found)

    with closing(Published(tmp_path, lambda: 1)) as made:
        monkeypatch.setattr(made, "_mapped", Torn())
        assert made.newest() == 0x100


def test_an_index_file_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    with shared(tmp_path) as store:
        commit(store, put(node(1)))
        (tmp_path / "index").rename(tmp_path / "old")
        with pytest.raises(Exception, match="index was moved, removed or replaced"):
            commit(store, put(node(2)))
        (tmp_path / "old").rename(tmp_path / "index")
        commit(store, put(node(2)))


def test_a_wait_without_a_watch_is_not_the_pattern_of_later_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Published(tmp_path, lambda: 1)) as made:
        with monkeypatch.context() as patch:
            patch.setattr("plugind.store.sqlite.published._watch", lambda path: -1)
            with made._watching() as watch:
                assert watch == -1
        for _ in range(2):
            with made._watching() as watch:
                assert watch >= 0
        assert made._idle == [watch]


def test_waiting_works_beyond_1023_descriptors(tmp_path: Path) -> None:
    with ExitStack() as stack:
        for _ in range(1_100):
            stack.callback(os.close, os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        store, other = (stack.enter_context(shared(tmp_path)) for _ in range(2))
        found: list[bool] = []
        waiter = threading.Thread(target=lambda: found.append(store.wait(FIRST_INDEX, PATIENCE)))
        waiter.start()
        commit(other, put(node(1)))
        waiter.join()
        assert found == [True]


def test_what_a_process_writes_itself_ends_no_wait_for_others(tmp_path: Path) -> None:
    with closing(SqliteStore(None, tmp_path, shared=True)) as store:
        (index,) = commit(store, put(node(1)))
        began = time.monotonic()
        assert store.wait_for_others(index - 1, 0.2), "it is there when the time is over"
        assert time.monotonic() - began >= 0.2
