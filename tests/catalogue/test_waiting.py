"""Places for blocking queries: shared fairly, and freed as soon as their client has left."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from plugind.catalogue.waiting import CHANGED, CLOSED, Holder, Waiting
from plugind.errors import ClientGone, TooManyParked
from plugind.health import Hits
from tests.promises import PATIENCE
from tests.support import eventually
from tests.waiting import Client, wait_in

A, B, C = (Holder(f"10.0.0.{number}") for number in range(3))
TOKEN, OTHER = Holder("accessor 1", has_token=True), Holder("accessor 2", has_token=True)


class Room:
    """A waiting room of four places, at most half for one token, and the holders of places."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.hits = Hits()
        self.waiting = Waiting(4, 50, self.hits)
        self._pool = pool

    def park(
        self, holder: Holder, resource: str = "x", client: Client | None = None
    ) -> Future[bool]:
        """Let a holder wait; return once it is parked or has an answer."""
        before = self.places_of(holder)
        future = self._pool.submit(
            wait_in, self.waiting, resource, lambda: False, 300.0, holder, client
        )
        eventually(lambda: future.done() or self.places_of(holder) > before)
        return future

    def places_of(self, holder: Holder) -> int:
        return len(self.waiting._held.get(holder.name, ()))


@pytest.fixture
def room() -> Iterator[Room]:
    with ThreadPoolExecutor(16) as pool:
        made = Room(pool)
        yield made
        made.waiting.close()


def test_a_token_has_its_share_and_no_more(room: Room) -> None:
    parked = [room.park(TOKEN) for _ in range(2)]
    with pytest.raises(TooManyParked, match="of this token are parked"):
        room.park(TOKEN).result(PATIENCE)
    parked += [room.park(OTHER) for _ in range(2)]
    assert room.waiting.count == 4
    assert not any(each.done() for each in parked)
    assert room.hits.counts == {"max_parked_share": 1}


def test_an_address_may_use_what_no_other_wants(room: Room) -> None:
    parked = [room.park(A) for _ in range(4)]
    with pytest.raises(TooManyParked, match="4 blocking queries are parked"):
        room.park(A).result(PATIENCE)
    assert not any(each.done() for each in parked)
    assert room.hits.counts == {"max_parked": 1}


def test_the_holder_of_most_places_loses_the_longest_parked(room: Room) -> None:
    first = [room.park(A) for _ in range(4)]
    room.park(B)
    assert first[0].result(PATIENCE) is False, "as if its wait had expired"
    room.park(B)
    assert first[1].result(PATIENCE) is False
    with pytest.raises(TooManyParked):
        room.park(B).result(PATIENCE)  # both hold the same
    third = room.park(C)
    assert [room.places_of(holder) for holder in (A, B, C)] == [1, 2, 1]
    assert not third.done()


def test_a_token_takes_a_place_of_an_address_that_holds_most(room: Room) -> None:
    parked = [room.park(A) for _ in range(4)]
    assert not room.park(TOKEN).done()
    assert parked[0].result(PATIENCE) is False


def test_a_client_that_leaves_frees_its_place_at_once(room: Room) -> None:
    client = Client()
    parked = room.park(A, client=client)
    eventually(lambda: client.calls)
    (leave,) = client.calls
    assert leave is not None
    leave()
    with pytest.raises(ClientGone):
        parked.result(PATIENCE)
    assert room.waiting.count == 0
    assert client.calls[-1] is None, "nothing is called any more once the query is over"


def test_a_client_that_left_before_does_not_wait(room: Room) -> None:
    with pytest.raises(ClientGone):
        room.park(A, client=Client(has_left=True)).result(PATIENCE)


def test_only_those_who_wait_for_it_wake(room: Room) -> None:
    due: set[str] = set()
    waits = {
        name: room._pool.submit(wait_in, room.waiting, name, lambda n=name: n in due, 300.0, A)
        for name in "xy"
    }
    eventually(lambda: room.waiting.count == 2)
    due |= {"x", "y"}
    room.waiting.wake(["x"])
    assert waits["x"].result(PATIENCE) is True
    assert not waits["y"].done()


def test_a_wait_that_ends_says_so(room: Room) -> None:
    assert wait_in(room.waiting, "x", lambda: False, 0.01, A) is False
    assert wait_in(room.waiting, "x", lambda: True, 30.0, A) is True
    assert room.waiting.count == 0


def test_a_server_that_fails_to_wake_its_request_keeps_no_other_from_waking() -> None:
    waiting, woken = Waiting(4), []
    due: list[bool] = []

    def fail() -> None:
        raise RuntimeError("the loop is closed")

    waiting.subscribe("x", lambda: bool(due), fail)
    other = waiting.subscribe("x", lambda: bool(due), lambda: woken.append(1))
    due.append(True)
    waiting.wake(["x"])
    assert (woken, other.ended) == ([1], CHANGED)


def test_a_subscription_calls_once_and_without_a_lock() -> None:
    waiting, ended = Waiting(4), []
    due: list[bool] = []

    def call() -> None:
        ended.append(place.ended)
        waiting.subscribe("y", lambda: True, lambda: None).close()  # would wait for a lock forever
        place.close()

    place = waiting.subscribe("x", lambda: bool(due), call)
    assert place.was_parked
    waiting.wake(["x"])
    assert not ended, "it is not due"
    due.append(True)
    waiting.wake(["x"])
    waiting.wake(["x"])
    waiting.close()
    assert ended == [CHANGED]
    assert waiting.count == 0


def test_a_due_subscription_calls_at_once_and_takes_no_place() -> None:
    waiting, calls = Waiting(4), []
    place = waiting.subscribe("x", lambda: True, lambda: calls.append(1))
    assert (place.was_parked, place.ended, calls, waiting.count) == (False, CHANGED, [1], 0)
    waiting.close()
    assert waiting.subscribe("x", lambda: False, lambda: calls.append(2)).ended == CLOSED
    assert calls == [1, 2]
