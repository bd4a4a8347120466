"""Costly reads take turns, however the query is written."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from plugind.api import flow, problems
from plugind.api.turns import PACKED, SELECTED, WOKEN, Turns, kind_of
from plugind.api.wsgi import request_of
from plugind.errors import TooManyParked
from plugind.health import Hits
from plugind.state.problems import Wrong
from plugind.ui import facts
from tests.promises import PATIENCE
from tests.serve.support import get, rest
from tests.support import FakeAgent, Live, eventually, serving, up
from tests.waiting import begin

LIST = "/v1/plugins?type=csi"


def kind(path: str, method: str = "GET", accept: str = "") -> str:
    path, _, query = path.partition("?")
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "HTTP_ACCEPT_ENCODING": accept,
    }
    return kind_of(request_of(environ))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ""),
        ("&index=7&wait=5m&namespace=*", ""),
        ("&x=pretty&y=filter=", ""),
        ("&pretty", SELECTED),
        ("&pretty=1", SELECTED),
        ("&filter=ID+==+x", SELECTED),
        ("&prefix=a", SELECTED),
        ("&per_page=1", SELECTED),
        ("&next_token=1", SELECTED),
        ("&reverse", SELECTED),
        ("&%70retty", SELECTED),
        ("&%66ilter=x", SELECTED),
    ],
)
def test_the_kind_of_a_read(query: str, expected: str) -> None:
    assert kind(LIST + query) == expected


def test_other_parameters_that_make_a_kind() -> None:
    assert kind(LIST, accept="deflate, GZIP;q=1") == PACKED
    assert kind(f"{LIST}&pretty", "HEAD") == SELECTED
    assert kind("/v1/search", "POST") == kind("/v1/search/fuzzy", "PUT") == SELECTED
    assert kind("/v1/plugin/csi/ebs0/history") == kind("/v1/node/x/history") == SELECTED
    assert kind("/v1/node/x/heartbeat", "PUT", "gzip") == ""
    assert kind("/v1/agent/health?pretty", accept="gzip") == ""
    assert kind("/v1/event/stream?index=1", accept="gzip") == kind("/ui/events") == ""


class Queue:
    """Turns, and requests that wait for one; ``order`` lists those whose turn has begun."""

    def __init__(self, pool: ThreadPoolExecutor, places: int, maximum: int = 100) -> None:
        self.hits = Hits()
        self.turns = Turns(places, maximum, self.hits)
        self.order: list[str] = []
        self._pool = pool

    def ask(self, kind: str, holder: str, name: str = "") -> Future[bool]:
        """Queue a request; return once it waits."""
        before = self.turns.waiting

        def wait() -> bool:
            has_waited = begin(self.turns, kind, holder)
            self.order.append(name or holder)
            return has_waited

        future = self._pool.submit(wait)
        eventually(lambda: future.done() or self.turns.waiting > before)
        return future

    def end(self, kind: str, holder: str, seconds: float = 0.001) -> None:
        """End the turn of a request; return once the next one has begun."""
        before, waited = len(self.order), self.turns.waiting
        self.turns.end(kind, holder, seconds)
        if waited:
            eventually(lambda: len(self.order) > before)


@pytest.mark.parametrize("index", ["0", "1", "99"])
def test_an_index_is_no_way_around_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: str
) -> None:
    """Take a turn for a costly query whether it waits for the index or not."""
    taken: list[str] = []
    real = Turns.begin

    def noted(self: Turns, kind: str, holder: str, call: Callable[[], None]) -> bool:
        taken.append(kind)
        return real(self, kind, holder, call)

    monkeypatch.setattr(Turns, "begin", noted)
    with serving(tmp_path, live=False) as api:
        FakeAgent(api).report({"ebs0": {"node": up()}})
        for path in (LIST, "/v1/openapi.json?x", "/v1/agent/members?x"):
            assert api.call("GET", f"{path}&pretty&index={index}").status == 200
    assert taken == [SELECTED] * 3


@pytest.mark.parametrize("path", ["/v1/problems", "/ui/"])
def test_a_costly_answer_is_made_after_its_turn_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Take the turn before the view, which does the work, at endpoints that wait for no index."""
    order: list[str] = []
    real = Turns.begin

    def noted(self: Turns, kind: str, holder: str, call: Callable[[], None]) -> bool:
        order.append("turn")
        return real(self, kind, holder, call)

    def worked(*given: Any) -> Wrong:
        order.append("work")
        return Wrong(*given)

    monkeypatch.setattr(Turns, "begin", noted)
    for each in (problems, facts):
        monkeypatch.setattr(each, "Wrong", worked)
    with serving(tmp_path, live=False) as api:
        FakeAgent(api).report({"ebs0": {"node": up()}})
        assert api.call("GET", f"{path}?index=1").status == 200
    assert order == ["turn", "work"]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as made:
        yield made


def test_as_many_as_there_are_places(pool: ThreadPoolExecutor) -> None:
    queue = Queue(pool, 2)
    assert [queue.ask(SELECTED, "a").result(PATIENCE) for _ in range(2)] == [False, False]
    third = queue.ask(SELECTED, "a")
    assert not third.done()
    queue.end(SELECTED, "a")
    assert third.result(PATIENCE) is True


def test_callers_and_kinds_go_on_by_what_they_used(pool: ThreadPoolExecutor) -> None:
    queue = Queue(pool, 1)
    queue.ask(SELECTED, "flood").result(PATIENCE)
    waiting = [queue.ask(SELECTED, "flood") for _ in range(3)]
    waiting += [queue.ask(SELECTED, "other"), queue.ask(PACKED, "third"), queue.ask(WOKEN, "w")]
    for holder, kind in [("flood", SELECTED), ("third", PACKED), ("w", WOKEN), ("other", SELECTED)]:
        queue.end(kind, holder, 0.1)
    assert queue.order[:4] == ["flood", "third", "w", "other"]
    for _ in range(3):
        queue.end(SELECTED, "flood")
    assert [each.result(PATIENCE) for each in waiting] == [True] * 6


def test_a_costly_one_begins_after_the_plain_one(pool: ThreadPoolExecutor) -> None:
    queue = Queue(pool, 1)
    queue.ask(SELECTED, "a").result(PATIENCE)
    queue.end(SELECTED, "a")
    queue.turns.begin_plain()
    waits = queue.ask(SELECTED, "a")
    queue.turns.end_plain()
    assert waits.result(PATIENCE) in (True, False)


def test_plain_ones_without_end_do_not_keep_a_costly_one_out(pool: ThreadPoolExecutor) -> None:
    queue = Queue(pool, 1)
    for _ in range(50):
        queue.turns.begin_plain()
    waits = queue.ask(SELECTED, "a")

    def another() -> bool:
        queue.turns.begin_plain()
        queue.turns.end_plain()
        return waits.done()

    eventually(another)


def test_beyond_the_maximum_is_refused_unless_it_was_woken(pool: ThreadPoolExecutor) -> None:
    queue = Queue(pool, 1, maximum=2)
    queue.ask(SELECTED, "a").result(PATIENCE)
    waits = [queue.ask(SELECTED, "a") for _ in range(2)]
    with pytest.raises(TooManyParked):
        begin(queue.turns, SELECTED, "a")
    assert queue.hits.counts == {"max_waiting_reads": 1}
    waits.append(queue.ask(WOKEN, "b"))
    for _ in range(3):
        queue.end(SELECTED, "a")
    assert [each.result(PATIENCE) for each in waits] == [True] * 3


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[Turns]:
    """Yield a list that gets the turns of each server that is created from now on."""
    made: list[Turns] = []

    def make(*given: Any) -> Turns:
        made.append(Turns(*given))
        return made[-1]

    monkeypatch.setattr(flow, "Turns", make)
    return made


def test_a_pipelined_one_that_waits_keeps_no_other_pipelined_one_waiting(
    tmp_path: Path, turns: list[Turns]
) -> None:
    with ExitStack() as until_end:
        api = until_end.enter_context(serving(tmp_path, live=True))
        assert isinstance(api, Live)
        FakeAgent(api).report({"ebs0": {"node": up()}})
        begin(turns[0], SELECTED, "a costly read that takes long")
        port = int(api.address.rpartition(":")[2])
        first, second = (
            until_end.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
            for _ in range(2)
        )
        first.sendall(get(LIST) + get(f"{LIST}&pretty", "Connection: close"))
        eventually(lambda: turns[0].waiting == 1)
        second.sendall(get(LIST) + get(LIST, "Connection: close"))
        assert rest(second).count(b"HTTP/1.1 200 OK") == 2
        assert turns[0].waiting == 1
        turns[0].end(SELECTED, "a costly read that takes long", 0.001)
        assert rest(first).count(b"HTTP/1.1 200 OK") == 2


def test_costly_reads_beyond_the_limit_get_429_and_plain_ones_an_answer(
    tmp_path: Path, turns: list[Turns]
) -> None:
    with (
        serving(tmp_path, live=True, server_max_waiting_reads="1") as api,
        ThreadPoolExecutor(2) as pool,
    ):
        FakeAgent(api).report({"ebs0": {"node": up()}})
        begin(turns[0], SELECTED, "a costly read that takes long")
        waits = pool.submit(api.call, "GET", f"{LIST}&pretty")
        eventually(lambda: turns[0].waiting == 1)
        refused = api.call("GET", f"{LIST}&pretty")
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert api.call("GET", LIST).status == 200
        assert api.call("GET", "/v1/agent/health").status == 200
        turns[0].end(SELECTED, "a costly read that takes long", 0.001)
        assert waits.result(PATIENCE).status == 200
        assert api.services.hits.counts == {"max_waiting_reads": 1}
        assert api.call("GET", f"{LIST}&pretty").status == 200
