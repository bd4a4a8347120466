"""Keeping one worker process running, tested with programs in place of workers."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from plugind.acl import ACL_OFF, Acl
from plugind.config.settings import Settings
from plugind.processes.keeper import Answers, Keeper
from plugind.processes.orders import Done, Start, TakeAcl, pair
from tests.support import eventually

WORKER = """
import os, signal, sys, time
from multiprocessing.connection import Connection
from plugind.processes.orders import Declare, Done, Failed, Loaded, Ready, Stop, TakeAcl
connection = Connection(int(sys.argv[1]))
connection.recv()
"""

LOADS = """
connection.send(Loaded())
given = connection.recv()
"""

MORE_THAN_IS_BUFFERED = "x" * 2**20

SERVES = """
connection.send(Ready())
while not isinstance(order := connection.recv(), Stop):
    connection.send(Done(order.number, type(order).__name__))
"""


@contextmanager
def keeping(
    code: str,
    *,
    must_start: bool = False,
    loading: str = LOADS,
    acl: Callable[[], Acl] = lambda: ACL_OFF,
    kept_open: list[socket.socket] | None = None,
) -> Iterator[tuple[Keeper, list[int]]]:
    """Keep a program running; yield its keeper, and the list of the processes that were started.

    ``acl`` returns the ACLs in force. ``kept_open`` collects the other ends of the connections,
    held open as by a child process of the program.
    """
    started: list[int] = []

    def spawn(number: int) -> tuple[subprocess.Popen[bytes], Connection]:
        ours, theirs = pair()
        with theirs:
            handle = theirs.fileno()
            command = [sys.executable, "-c", WORKER + loading + code, str(handle)]
            process = subprocess.Popen(command, pass_fds=[handle])
            if kept_open is not None:
                kept_open.append(theirs.dup())
        started.append(process.pid)
        return process, ours

    nothing: Callable[..., None] = lambda *_: None  # noqa: E731

    def start() -> Start:
        return Start(Settings(), acl(), False, MORE_THAN_IS_BUFFERED)

    keeper = Keeper(7, spawn, start, nothing, nothing, must_start=must_start)
    keeper.start()
    try:
        yield keeper, started
    finally:
        keeper.stop()
        keeper.thread.join(10)
        keeper.kill()
        keeper.thread.join(10)
        assert not keeper.thread.is_alive()


def sent(keeper: Keeper, number: int = 1) -> Answers:
    """Send an order; return the answers to it."""
    answers = keeper.send(TakeAcl(ACL_OFF, number))
    assert answers is not None
    return answers


def test_orders_are_answered() -> None:
    with keeping(SERVES) as (keeper, started):
        eventually(lambda: keeper.is_up)
        for number in (1, 2, 3):
            answers = sent(keeper, number)
        assert keeper.answer(answers, 3, 60) == Done(3, "TakeAcl"), (
            "earlier answers are no answer to it"
        )
        assert not keeper.deaths
    assert len(started) == 1


def test_a_process_that_dies_is_started_again_and_again() -> None:
    with keeping("connection.send(Ready()); os._exit(3)") as (keeper, started):
        eventually(lambda: len(started) >= 3)
        eventually(lambda: keeper.deaths >= 2)
        assert "worker 7 died" in keeper.trouble
        assert "(exit status 3)" in keeper.trouble


def test_one_that_cannot_start_says_why_and_the_first_is_not_tried_again() -> None:
    code = "connection.send(Failed('no disk')); os._exit(1)"
    with keeping(code, must_start=True) as (keeper, started):
        eventually(lambda: not keeper.thread.is_alive())
        assert (keeper.failure, keeper.refusal, len(started)) == ("no disk", "no disk", 1)
        assert not keeper.is_up
        assert keeper.down_for > 0
        assert not keeper.send(TakeAcl(ACL_OFF, 1))


def test_one_that_gives_no_answer_is_killed_and_replaced() -> None:
    with keeping("connection.send(Ready()); time.sleep(1000)") as (keeper, started):
        eventually(lambda: keeper.is_up)
        assert keeper.answer(sent(keeper), 1, 0.01) is None
        eventually(lambda: len(started) == 2 and keeper.is_up)
        assert "SIGKILL" in keeper.trouble
        keeper.kill()  # a stop would not end it


def test_an_answer_that_a_dead_process_owed_is_not_expected_of_the_next() -> None:
    code = "connection.send(Ready()); connection.recv(); os._exit(0)"
    with keeping(code) as (keeper, started):
        eventually(lambda: keeper.is_up)
        answers = sent(keeper)
        eventually(lambda: len(started) == 2 and keeper.is_up)
        assert keeper.answer(answers, 1, 60) is None
        assert keeper.answer(answers, 1, 0.01) is None
        assert keeper.is_up


def test_one_that_dies_with_an_order_in_hand_gives_no_answer() -> None:
    with keeping("connection.send(Ready()); connection.recv(); os._exit(0)") as (keeper, _):
        eventually(lambda: keeper.is_up)
        assert keeper.answer(sent(keeper), 1, 60) is None


def test_the_death_of_one_is_noticed_though_its_connection_stays_open() -> None:
    kept_open: list[socket.socket] = []
    code = "connection.send(Ready()); connection.send(Failed('its last words')); os._exit(3)"
    with keeping(code, kept_open=kept_open) as (keeper, started):
        eventually(lambda: len(started) >= 2)
        assert "worker 7 died" in keeper.trouble
        assert "(its last words)" in keeper.trouble
    for each in kept_open:
        each.close()


def test_one_that_loads_is_sent_nothing_and_then_what_is_in_force(tmp_path: Path) -> None:
    loading = f"""
while not os.path.exists({str(tmp_path / "go")!r}):
    time.sleep(0.01)
"""
    code = "connection.send(Failed(given.acl.warnings[0])); connection.send(Ready())" + SERVES
    in_force = [ACL_OFF]
    with keeping(code, loading=loading + LOADS, acl=lambda: in_force[-1]) as (keeper, started):
        eventually(lambda: started)
        in_force.append(replace(ACL_OFF, warnings=("a reload",)))
        assert keeper.send(TakeAcl(in_force[-1], 1)) is None
        (tmp_path / "go").touch()
        eventually(lambda: keeper.is_up)
        assert keeper.refusal == "a reload"
        assert keeper.answer(sent(keeper, 2), 2, 60) == Done(2, "TakeAcl")
        assert not keeper.deaths


def test_one_that_loads_when_it_is_to_stop_is_not_replaced(tmp_path: Path) -> None:
    with keeping("", loading="connection.recv()") as (keeper, started):
        eventually(lambda: started)
        keeper.stop()
        keeper.thread.join(60)
        assert not keeper.thread.is_alive()
        assert (len(started), keeper.deaths) == (1, 0)
