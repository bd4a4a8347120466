"""Wait in the calling thread for a callback, through the adapter that the HTTP server uses."""

from __future__ import annotations

from collections.abc import Callable

from plugind.api.request import Pause, Steps
from plugind.api.turns import Turn, Turns
from plugind.catalogue import Catalogue
from plugind.catalogue.waiting import ANYBODY, CHANGED, CLOSED, Holder, Subscription, Waiting
from plugind.serve.parking import Threads

THREADS = Threads()
Leave = Callable[[], None]


class Client:
    """A connection whose client leaves when the test says so."""

    def __init__(self, *, has_left: bool = False) -> None:
        self.calls: list[Leave | None] = []
        self._has_left = has_left

    def verified_node(self) -> None: ...

    def waits(self) -> None: ...

    def on_close(self, call: Leave | None) -> None:
        self.calls.append(call)
        if call is not None and self._has_left:
            call()


def wait(catalogue: Catalogue, resource: str, index: int, timeout: float) -> bool:
    """Wait until a resource's index is greater than ``index``; return whether it is."""
    return _run(lambda call: catalogue.subscribe(resource, index, call), timeout)


def wait_in(
    waiting: Waiting,
    resource: str,
    is_due: Callable[[], bool],
    timeout: float,
    holder: Holder = ANYBODY,
    client: Client | None = None,
) -> bool:
    """Wait until ``is_due()``; return whether it is."""
    return _run(lambda call: waiting.subscribe(resource, is_due, call, holder), timeout, client)


def begin(turns: Turns, kind: str, holder: str) -> bool:
    """Wait for a turn; return whether that took a while."""
    return THREADS.run(Turn(turns, THREADS.signal).begin(kind, holder), None)


def _run(
    subscribe: Callable[[Callable[[], None]], Subscription],
    timeout: float,
    client: Client | None = None,
) -> bool:
    def steps() -> Steps[bool]:
        signal = THREADS.signal()
        place = subscribe(signal.set)
        try:
            yield Pause(signal, timeout, ends_with_client=True)
            return place.ended in (CHANGED, CLOSED)
        finally:
            place.close()

    return THREADS.run(steps(), client)
