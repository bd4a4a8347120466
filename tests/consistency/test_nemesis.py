"""What breaks the parts of a rig: one seed gives the same faults, and none without traffic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from tests.consistency import nemesis
from tests.consistency.nemesis import Nemesis, TooThin, schedule
from tests.consistency.operations import REPORT, History, Write
from tests.consistency.rigs import Rig


@dataclass
class Part:
    """A part that records its faults; each fault brings ``traffic`` acknowledged writes."""

    name: str
    history: History
    traffic: int
    servers: frozenset[str] = frozenset(["s0"])
    ways: Sequence[str] = ("kill", "pause")
    done: list[str] = field(default_factory=list)

    def break_(self, way: str) -> None:
        self.done.append(f"{way} {self.name}")

    def mend(self, way: str) -> None:
        self.done.append(f"mend {self.name}")
        writes(self.history, self.traffic)


def writes(history: History, count: int) -> None:
    for number in range(count):
        history.acknowledged(Write("c", "s0", "n", REPORT, number, 0.0))


def run(seed: int, traffic: int) -> tuple[list[str], History]:
    """Run five faults on two parts; return a record of them."""
    history, done = History(), list[str]()
    parts = [Part(name, history, traffic, done=done) for name in ("one", "two")]
    writes(history, nemesis.TRAFFIC)
    Nemesis(Rig([], parts, slowest=0.0), history, seed).run(5)
    return done, history


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing."""
    monkeypatch.setattr(nemesis, "PATIENT", 0.0)
    monkeypatch.setattr(nemesis, "SHORTEST", 0.0)


def test_a_seed_repeats_its_faults() -> None:
    assert schedule(5, 20, 1.5) == schedule(5, 20, 1.5) != schedule(6, 20, 1.5)
    done, history = run(5, nemesis.TRAFFIC)
    assert done == run(5, nemesis.TRAFFIC)[0]
    assert len(done) == 2 * len(history.faults) == 10
    assert all(each.begun <= each.ended for each in history.faults)


def test_a_fault_without_traffic_before_it_fails_the_run() -> None:
    with pytest.raises(TooThin, match=rf"{nemesis.TRAFFIC - 1} writes"):
        run(5, nemesis.TRAFFIC - 1)
