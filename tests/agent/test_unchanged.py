"""A probe with the same result as before costs a single look at the result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from plugind.agent import bounds, protocol
from plugind.agent.bounds import Room
from plugind.agent.prober import results
from plugind.agent.prober.counter import ProbeCounter
from plugind.agent.prober.health_filter import HealthFilter
from plugind.agent.prober.results import examine
from plugind.agent.prober.target import Target
from plugind.agent.protocol import Failed, Found, Message
from plugind.errors import ProbeFailed
from plugind.plugin_type import Settings

KEY = ("a", "node")
SETTINGS = Settings(1.5, 3.0, 1, 0, 1_000)


class Rig:
    """A target with probes that the test makes, one at a time."""

    def __init__(self, size: int = 10_000, settings: Settings = SETTINGS) -> None:
        self.sent: list[Message] = []
        self.found: Any = {}
        self.room = Room(10, size)
        self.target = Target(
            "t",
            None,
            settings,
            HealthFilter(settings),
            self._probe,
            self.sent.append,
            self.room,
            ProbeCounter(),
        )

    def _probe(self, target: Any, last: Any) -> Any:
        if isinstance(self.found, Exception):
            raise self.found
        return examine(self.found, ["node"], 1_000, last)

    def probe(self, found: Any) -> list[Message]:
        """Probe once; return the part of the result that is sent."""
        self.found = found
        before = len(self.sent)
        self.target._end(self.target._outcome(), 0.001)
        return self.sent[before:]


def healthy(**more: Any) -> Mapping[Any, Any]:
    return {KEY: {"Healthy": True, **more}}


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Yield the values that are encoded as JSON from now on."""
    encoded: list[Any] = []

    def dumps(value: Any, **options: Any) -> str:
        encoded.append(value)
        return json.dumps(value, **options)

    counting = SimpleNamespace(dumps=dumps, loads=json.loads)
    for module in (bounds, protocol, results):
        monkeypatch.setattr(module, "json", counting)
    return encoded


def test_an_unchanged_result_is_encoded_once(encodings: list[Any]) -> None:
    rig = Rig()
    assert rig.probe(healthy(X=1, Time=[1, 2]))
    for _ in range(3):
        encodings.clear()
        assert rig.probe(healthy(X=1, Time=[1, 2])) == []
        assert encodings == [{"Healthy": True, "X": 1, "Time": [1, 2]}]


@pytest.mark.parametrize(
    "changed",
    [
        *(healthy(X=True), healthy(X=1.0), healthy(X="1"), healthy(X=[1]), healthy(), {}),
        {KEY: {"Healthy": False, "X": 1}},
        {("b", "node"): {"Healthy": True, "X": 1}},
    ],
    ids=str,
)
def test_any_difference_is_sent(changed: Any) -> None:
    rig = Rig()
    rig.probe(healthy(X=1))
    (message,) = rig.probe(changed)
    assert isinstance(message, Found)
    assert json.dumps(list(message.instances.values())) == json.dumps(list(changed.values()))
    assert rig.probe(changed) == []
    assert len(rig.probe(healthy(X=1))) == 1


def test_a_result_that_its_type_goes_on_changing_is_not_taken_for_the_last_one() -> None:
    rig = Rig()
    mutable: dict[str, Any] = {"Healthy": True, "X": [1]}
    rig.probe({KEY: mutable})
    mutable["X"].append(2)
    (message,) = rig.probe({KEY: mutable})
    assert isinstance(message, Found)
    assert message.instances[KEY]["X"] == [1, 2]


def test_a_failure_and_its_end_are_sent() -> None:
    rig = Rig()
    rig.probe(healthy())
    assert rig.probe(ProbeFailed("fire"))
    assert rig.probe(ProbeFailed("fire")) == []
    assert len(rig.probe(healthy())) == 1
    assert rig.probe(healthy()) == []


def test_what_is_too_much_for_a_line_fails_each_time_and_takes_no_room() -> None:
    rig = Rig(size=4 << 20)
    rig.probe(healthy(X=1))
    large = healthy(X="x" * (1 << 20))
    (message,) = rig.probe(large)
    assert isinstance(message, Failed | Found)
    assert "too much" in str(message)
    assert rig.probe(large) == []
    assert len(rig.probe(healthy(X=1))) == 1


def test_an_unchanged_result_gets_room_once_there_is_some() -> None:
    rig = Rig(size=300)
    rig.room.admit(Found("other", 1, {("b", "node"): {"Healthy": True, "X": "x" * 100}}))
    (message,) = rig.probe(healthy(X="x" * 100))
    assert isinstance(message, Found)
    assert message.beyond == 1
    assert rig.probe(healthy(X="x" * 100)) == []
    rig.room.leave("other")
    (message,) = rig.probe(healthy(X="x" * 100))
    assert isinstance(message, Found)
    assert message.beyond == 0


def test_notes_of_the_filter_are_sent_once() -> None:
    """Send such a note once; during allowed failures, each result is the last one with a note."""
    rig = Rig(settings=Settings(1.5, 3.0, 3, 0, 1_000))
    rig.probe(healthy())
    assert len(rig.probe(ProbeFailed("fire"))) == 1
    assert rig.probe(ProbeFailed("fire")) == []
