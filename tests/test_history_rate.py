"""What the history costs: reports at the full rate with and without it, by turns, for a minute."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, product
from pathlib import Path

import pytest

from plugind.intake.effects import Transitions
from plugind.model import HistoryQuery
from tests.support import FakeAgent, Live, down, serving, up

CLIENTS = 4
NODES = 800  # enough that no instance changes often enough to count as flapping
PLUGINS = 10
FLIPPED = 3
"""The number of plugins in a report that change, which gives over 1,000 transitions a second."""

TURN = 5.0
TURNS = 24
MAXIMUM = 20_000
CONFIG = f"""
history {{ max_transitions = {MAXIMUM} }}
store "sqlite" {{ log_max_size = 2097152 }}
"""


class Flipper:
    """Make some plugins of one node after another fail and recover."""

    def __init__(self, api: Live, number: int) -> None:
        names = range(number, NODES, CLIENTS)
        agents = [FakeAgent(api, name=f"vm{each}") for each in names]
        self._turns = cycle(product((up(), down()), agents))

    def run(self, until: float) -> int:
        """Report until the given time; return the number of reports."""
        count = 0
        while time.monotonic() < until:
            fingerprint, agent = next(self._turns)
            plugins = {f"p{each}": {"node": up()} for each in range(PLUGINS)}
            plugins |= {f"p{each}": {"node": fingerprint} for each in range(FLIPPED)}
            assert agent.report(plugins).status == 200
            count += 1
        return count


@pytest.mark.soak
def test_reports_keep_their_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_instance = Transitions.of_instance
    with (
        serving(tmp_path, live=True, config=CONFIG) as api,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        assert isinstance(api, Live)
        store = api.services.store
        flippers = [Flipper(api, each) for each in range(CLIENTS)]
        reports = {True: 0, False: 0}
        written = 0
        sizes = []
        for turn in range(TURNS):
            is_kept = turn % 2 == 0
            made = of_instance if is_kept else lambda *_, **__: []
            monkeypatch.setattr(Transitions, "of_instance", made)
            before = store.history(HistoryQuery(limit=1))
            until = [time.monotonic() + TURN] * CLIENTS
            reports[is_kept] += sum(pool.map(Flipper.run, flippers, until))
            after = store.history(HistoryQuery(limit=1))
            written += after[0].seq - (before[0].seq if before else 0)
            sizes.append(sum(each.stat().st_size for each in tmp_path.glob("plugind.db*")))
        oldest = store.history(HistoryQuery(after=0, limit=1))[0].seq
    ratio = reports[True] / reports[False]
    rate = written / (TURN * TURNS / 2)
    print(f"ratio {ratio:.2f}, {rate:,.0f} transitions/s, {sizes[-1] / 2**20:.0f} MiB")
    assert rate >= 1_000
    assert ratio >= 0.8
    assert after[0].seq - oldest < MAXIMUM * 1.1, "pruning keeps up"
    assert max(sizes[TURNS // 2 :]) < 1.2 * max(sizes[: TURNS // 2]), "the file stays bounded"
