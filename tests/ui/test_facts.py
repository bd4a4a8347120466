"""The facts that pages share: computed when needed, and only once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from plugind.state.problems import Wrong
from plugind.ui import facts
from tests.api.gate import MANAGEMENT, gate
from tests.promises import PATIENCE
from tests.support import serving


def test_readers_who_see_nothing_cost_no_look_through_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, looks = gate(tmp_path), []

    def counted(*given: Any) -> Wrong:
        looks.append(given)
        return Wrong(*given)

    monkeypatch.setattr(facts, "Wrong", counted)
    with serving(tmp_path, live=False, config=made.config) as api:
        for path in ("/ui/", "/ui/signin"):
            assert api.call("GET", path).status == 200
        assert not looks
        for _ in range(2):
            assert api.call("GET", "/ui/", headers=made.headers(MANAGEMENT)).status == 200
        assert len(looks) == 1


def test_requests_at_once_share_one_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, begun, goes_on = [], threading.Event(), threading.Event()

    def held(*given: Any) -> Wrong:
        looks.append(given)
        begun.set()
        assert goes_on.wait(PATIENCE)
        return Wrong(*given)

    monkeypatch.setattr(facts, "Wrong", held)
    with serving(tmp_path, live=False) as api, ThreadPoolExecutor(4) as pool:
        state, of = api.services.catalogue.state, facts.FactsOf({})
        asked = [pool.submit(lambda: of.of(state).wrong) for _ in range(4)]
        assert begun.wait(PATIENCE)
        goes_on.set()
        assert len({id(each.result(PATIENCE)) for each in asked}) == 1
        assert len(looks) == 1
