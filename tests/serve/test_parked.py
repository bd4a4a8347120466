"""Ten thousand parked queries on one worker, as in docs/servers.md; run by ``make soak``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.promises import is_longer, slowness, stalled
from tests.serve.parked import measure


@pytest.mark.soak
@pytest.mark.parametrize("reads", [False, True], ids=["alone", "beside reads"])
@pytest.mark.parametrize("kind", ["granian", "uvicorn"])
def test_ten_thousand_parked_queries(tmp_path: Path, kind: str, reads: bool) -> None:
    before = stalled()
    found = measure(tmp_path, kind, 10_000, reads=reads)
    print(found)
    slow = slowness()
    assert found.threads < 64
    assert found.memory_parked < 450
    assert not is_longer(found.wake, stalled() - before, 10.0 * slow)
    for median, worst in filter(None, (found.parked_ms, found.waking_ms)):
        assert median < 25.0 * slow
        assert worst < 1000.0 * slow
