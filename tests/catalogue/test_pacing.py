"""How often changes of a list are announced: the first at once, later ones together."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from plugind.catalogue.pacing import Pacing
from plugind.serve.timer import Timer
from tests.support import eventually

LIST = "plugins/csi"
PAUSE = 0.5  # seconds: longer than a busy machine keeps a thread waiting between two lines


class Heard:
    """Announcements after a pause, with their times."""

    def __init__(self, pause: float) -> None:
        self.later: list[tuple[str, float]] = []
        self.timer = Timer("pacing")
        self.pacing = Pacing(self._wake, self.timer.later, pause)

    def close(self) -> None:
        self.pacing.close()
        self.timer.close()

    def _wake(self, resources: Iterable[str]) -> None:
        self.later += [(each, time.monotonic()) for each in resources]


@pytest.fixture
def heard() -> Iterator[Heard]:
    made = Heard(PAUSE)
    yield made
    made.close()


def test_the_first_change_is_announced_at_once_and_the_rest_together(heard: Heard) -> None:
    begun = time.monotonic()
    assert heard.pacing.announces(LIST, 2)
    assert not any(heard.pacing.announces(LIST, index) for index in range(3, 50))
    eventually(lambda: heard.later)
    assert [name for name, _ in heard.later] == [LIST]
    assert heard.later[0][1] - begun >= PAUSE


def test_lists_are_paced_by_themselves(heard: Heard) -> None:
    assert heard.pacing.announces(LIST, 2)
    assert heard.pacing.announces("nodes", 2)


def test_a_change_after_a_quiet_while_is_announced_at_once(heard: Heard) -> None:
    assert heard.pacing.announces(LIST, 2)
    quiet_until = time.monotonic() + PAUSE
    eventually(lambda: time.monotonic() > quiet_until)
    assert heard.pacing.announces(LIST, 3)


def test_a_client_with_an_older_state_hears_at_once(heard: Heard) -> None:
    heard.pacing.announces(LIST, 5)
    assert heard.pacing.may_hear(LIST, 5), "nothing is delayed"
    heard.pacing.announces(LIST, 6)
    assert heard.pacing.may_hear(LIST, 4)
    assert not heard.pacing.may_hear(LIST, 5)
    eventually(lambda: heard.pacing.may_hear(LIST, 5))


def test_changes_go_on_being_announced_while_they_come_without_pause() -> None:
    heard = Heard(0.02)
    try:
        begun, indexes = time.monotonic(), itertools.count(2)

        def has_heard_enough() -> bool:
            heard.pacing.announces(LIST, next(indexes))
            return len(heard.later) >= 5

        eventually(has_heard_enough, every=0.001)  # as a writer does, who waits for the disk
        # Each comes a pause after the previous one, however late it is recorded here.
        assert all(at - begun >= 0.02 * count for count, (_, at) in enumerate(heard.later, 1))
    finally:
        heard.close()


def test_a_call_that_comes_late_does_not_cut_the_next_pause_short() -> None:
    woken: list[str] = []
    calls: list[tuple[float, Callable[[], None]]] = []
    pacing = Pacing(woken.extend, lambda seconds, call: calls.append((seconds, call)), PAUSE)
    assert pacing.announces(LIST, 2)
    assert not pacing.announces(LIST, 3)
    ((_, late),) = calls
    over = time.monotonic() + PAUSE
    eventually(lambda: time.monotonic() > over)
    assert pacing.announces(LIST, 4), "the pause is over, and the call for its end has not come"
    assert not pacing.announces(LIST, 5)
    late()
    assert woken == []
    assert pacing.may_hear(LIST, 3), "an older state than was announced"
    assert not pacing.may_hear(LIST, 4), "the change to 5 is held back until its own pause is over"
    _, (_, in_time) = calls
    in_time()
    assert woken == [LIST]
    assert pacing.may_hear(LIST, 4)


def test_after_the_end_every_change_is_announced_at_once(heard: Heard) -> None:
    heard.pacing.announces(LIST, 2)
    heard.pacing.close()
    assert heard.pacing.announces(LIST, 3)
