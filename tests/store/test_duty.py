"""The single duty of a store: one process has it at a time, and its process is shown if stopped."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

import pytest

from plugind.store.sqlite import SqliteStore, duty
from tests.store.children import child
from tests.support import eventually

TAKES = """
say(store.has_duty())
while hear(): say(store.has_duty())
"""
FORKS = """
say(store.has_duty())
if os.fork() == 0:
    say("child"); hear()
    os._exit(0)
time.sleep(600)
"""


def shared(folder: Path) -> closing[SqliteStore]:
    return closing(SqliteStore(None, folder, shared=True))


def test_the_duty_goes_on_when_its_process_is_killed(tmp_path: Path) -> None:
    with child(tmp_path, TAKES) as one, child(tmp_path, TAKES) as two:
        assert sorted([one.hear(), two.hear()]) == ["False", "True"]
        one.say("again")
        first, second = (one, two) if one.hear() == "True" else (two, one)
        second.say("again")
        assert second.hear() == "False"
        first.kill()
        second.say("again")
        assert second.hear() == "True"


def test_a_forked_child_of_a_dead_holder_does_not_keep_it(tmp_path: Path) -> None:
    with child(tmp_path, FORKS) as one, shared(tmp_path) as store:
        assert [one.hear(), one.hear()] == ["True", "child"]
        assert not store.has_duty()
        one.popen.kill()  # its child goes on, with the same open files, until its input ends
        eventually(store.has_duty)
        one.say()


def test_another_store_of_the_process_does_not_drop_it(tmp_path: Path) -> None:
    with shared(tmp_path) as store, child(tmp_path, "hear();" + TAKES) as other:
        assert store.has_duty()
        with shared(tmp_path) as second:
            assert not second.has_duty()
        other.say("go on")
        assert other.hear() == "False"


def test_a_stopped_holder_is_shown_by_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duty, "SILENT", 0.3)
    with child(tmp_path, TAKES) as one, shared(tmp_path) as store:
        assert one.hear() == "True"
        os.kill(one.pid, signal.SIGSTOP)
        text = eventually(lambda: store.trouble)
        assert f"process {one.pid} marks nodes as down" in text
        assert not store.has_duty()
        os.kill(one.pid, signal.SIGCONT)
        one.say("again")
        assert one.hear() == "True"
        one.kill()
        assert store.trouble == ""
        assert store.has_duty()
        assert store.trouble == ""


def test_one_process_alone_has_it(tmp_path: Path) -> None:
    with closing(SqliteStore(None, tmp_path)) as store:
        assert store.has_duty()
        assert store.trouble == ""
