"""The work of a worker process, run in this process; the test acts as its parent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from plugind.acl import ACL_OFF, Acl
from plugind.health.threads import OwnedThread
from plugind.intake.writer import Writer
from plugind.processes import orders, serving
from plugind.processes.orders import Declare, Done, Loaded, Ready, Start, Stop, TakeAcl
from plugind.processes.serving import End, Parent
from plugind.serve.board import Board
from plugind.serve.listening import listen
from plugind.serve.services import Services
from plugind.testing.serving import load
from tests.promises import PATIENCE

NEWER = replace(ACL_OFF, warnings=("a reload",))


class Front:
    """An HTTP server that serves nothing, and whose thread dies once ``dies`` is set."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.started_with: Acl | None = None
        self.dies = threading.Event()
        self.threads = [OwnedThread("http", self._run, restarts=False)]
        services.conditions.threads.append(lambda: self.threads)

    def start(self) -> None:
        self.started_with = self.services.acl
        self.threads[0].start()

    def stop(self) -> None:
        self.dies.set()

    def _run(self) -> None:
        self.dies.wait(PATIENCE)
        raise KeyError


class Worker:
    """A worker in a thread; ``parent`` is the parent's end of their connection."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, until_end: ExitStack) -> None:
        self.fronts: list[Front] = []

        def front(kind: str, services: Services, *_: Any) -> Front:
            self.fronts.append(Front(services))
            return self.fronts[-1]

        monkeypatch.setattr(serving, "front", front)
        monkeypatch.setattr(serving, "LOOK_EVERY", 0.01)
        settings, _ = load(folder, "", {"server_enabled": "true"})
        self.start = Start(orders.handed_over(settings), ACL_OFF, False, "127.0.0.1:4646")
        self.parent, theirs = orders.pair()
        until_end.enter_context(self.parent)
        parent = Parent(until_end.enter_context(Connection(theirs.detach())))
        sock = until_end.enter_context(listen("127.0.0.1", 0))
        board = Board.make(1)
        until_end.callback(board.close)
        ended = threading.Event()
        pool = until_end.enter_context(ThreadPoolExecutor(1))
        end = End(ended.wait, ended.set)
        self.status: Future[int] = pool.submit(
            serving.serve, 1, parent, self.start, sock, board, end
        )
        until_end.callback(ended.set)

    def said(self) -> object:
        assert self.parent.poll(PATIENCE)
        return self.parent.recv()

    def serves(self) -> Front:
        """Make the worker serve; return its HTTP server."""
        assert self.said() == Loaded()
        self.parent.send(TakeAcl(NEWER, 0))
        assert [self.said(), self.said()] == [Done(0), Ready()]
        return self.fronts[0]


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    with ExitStack() as until_end:
        yield Worker(tmp_path, monkeypatch, until_end)


def test_it_serves_with_what_is_in_force_once_it_has_loaded(worker: Worker) -> None:
    front = worker.serves()
    assert front.started_with == NEWER
    worker.parent.send(Stop())
    assert worker.status.result(PATIENCE) == 0


@pytest.mark.parametrize("is_gone", [True, False])
def test_one_that_is_to_end_while_it_loads_never_serves(worker: Worker, is_gone: bool) -> None:
    assert worker.said() == Loaded()
    if is_gone:
        worker.parent.close()
    else:
        worker.parent.send(Stop())
    assert worker.status.result(PATIENCE) == 0
    assert worker.fronts[0].started_with is None


def test_one_whose_http_server_died_ends_with_a_failure(worker: Worker) -> None:
    worker.serves().dies.set()
    assert worker.status.result(PATIENCE) == 1


def test_one_whose_writer_died_ends_with_a_failure(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attempt(*_: object) -> None:
        raise KeyError

    monkeypatch.setattr(Writer, "_attempt", attempt)
    worker.serves()
    worker.parent.send(Declare(worker.start.settings, 1))
    answer = worker.said()
    assert isinstance(answer, Done)
    assert "nothing is written any more" in answer.reason
    assert worker.status.result(PATIENCE) == 1
