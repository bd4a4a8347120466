"""How long large work pauses, depending on how much it and other threads ran."""

from __future__ import annotations

import pytest

from plugind import handover


class Clocks:
    """Clocks of a thread and its process, in place of ``time``; ``slept`` records the pauses."""

    def __init__(self) -> None:
        self.mine = self.others = 0.0
        self.slept: list[float] = []

    def thread_time(self) -> float:
        return self.mine

    def process_time(self) -> float:
        return self.mine + self.others

    def monotonic(self) -> float:
        return self.mine

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks()
    monkeypatch.setattr(handover, "time", made)
    return made


def rests(clocks: Clocks, mine: float, others: float, *, is_modest: bool) -> list[float]:
    """Return the pauses of large work in three steps, given how long it and others ran in each."""
    with handover.large(is_modest=is_modest):
        clocks.slept.clear()
        for _ in range(3):
            clocks.mine += mine
            clocks.others += others
            handover.step()
        return [round(each, 6) for each in clocks.slept]


@pytest.mark.parametrize("others", [0.0, 0.002])
def test_modest_work_rests_as_long_as_it_worked(clocks: Clocks, others: float) -> None:
    assert rests(clocks, 0.002, others, is_modest=True) == [0.002] * 3
    assert rests(clocks, 0.01, others, is_modest=True) == [0.04] * 3


def test_other_work_rests_as_long_only_while_others_run(clocks: Clocks) -> None:
    assert rests(clocks, 0.002, 0.001, is_modest=False) == [0.002] * 3
    assert rests(clocks, 0.002, 0.0, is_modest=False) == [0.0002] * 3
    assert rests(clocks, 0.002, 0.0001, is_modest=False) == [0.0002] * 3


def test_work_within_other_work_leaves_its_manners_to_it(clocks: Clocks) -> None:
    with handover.large(is_modest=True):
        with handover.large(is_modest=False):
            pass
        clocks.slept.clear()
        clocks.mine += 0.002
        handover.step()
        assert clocks.slept == [0.002]


def test_short_work_and_small_work_rest_never(clocks: Clocks) -> None:
    assert rests(clocks, 0.0001, 0.0, is_modest=True) == []
    clocks.slept.clear()
    clocks.mine += 1.0
    handover.step()
    assert clocks.slept == []
