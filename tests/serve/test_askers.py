"""Which requests are answered without taking a turn while several addresses send requests."""

from __future__ import annotations

import pytest

from plugind.serve.askers import AT_ONCE_MAXIMUM, AT_ONCE_SECONDS, Askers


def test_few_requests_are_answered_without_a_turn_while_others_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1_000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    askers = Askers()
    assert askers.may_be_at_once("other", now[0])

    def asked(address: str) -> int:
        return sum(askers.may_be_at_once(address, now[0]) for _ in range(100))

    assert asked("greedy") == AT_ONCE_MAXIMUM
    assert asked("honest") == AT_ONCE_MAXIMUM, "each address has its own"
    assert asked("greedy") == 0
    now[0] += AT_ONCE_SECONDS * 1.01
    assert asked("greedy") == AT_ONCE_MAXIMUM
    now[0] += 1
    assert asked("greedy") == 100, "no other asks"
