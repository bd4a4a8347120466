"""The agent's log of its own instances: one line with names for each change of health."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plugind.agent.transitions import transitions
from tests.agent.fake_server import FakeServer
from tests.agent.test_agent import Make, folder
from tests.agent.test_agent import make as make
from tests.promises import eventually

NODE = "11111111-2222-4333-8444-555555555555"


def changes(before: Any, after: Any) -> list[tuple[Any, ...]]:
    found = transitions({"t": before}, {"t": after}, NODE, "vm")
    return [(each.kind, each.id, each.role, each.healthy, each.reason) for each in found]


def test_the_transitions_of_instances() -> None:
    fine, sick = {"Healthy": True}, {"Healthy": False, "HealthDescription": "fire"}
    before = {"a": {"x": fine}, "b": {"x": sick, "y": fine}, "c": {"x": sick}, "d": {"x": fine}}
    worse = {"Healthy": False, "HealthDescription": "flood"}
    after = {"a": {"x": sick}, "b": {"x": fine, "y": None}, "c": {"x": worse}, "e": {"x": sick}}
    assert changes(before, after) == [
        ("unhealthy", "a", "x", False, "fire"),
        ("healthy", "b", "x", True, "healthy"),
        ("went", "b", "y", True, "healthy"),
        ("went", "d", "x", True, "healthy"),
        ("came", "e", "x", False, "fire"),
    ]
    assert changes(after, after) == []
    assert changes({"b": {"y": None}}, {}) == [], "it is gone already"
    wordless = {"a": {"x": {"Healthy": False}}}
    assert changes({}, wordless) == [("came", "a", "x", False, "unhealthy, no reason given")]


def test_each_change_of_health_is_one_line(
    tmp_path: Path, fake_server: FakeServer, make: Make, log: list[Any]
) -> None:
    ink = folder(tmp_path, "ink", a="healthy node")

    def order(text: str) -> None:
        (tmp_path / "part").write_text(text)
        (tmp_path / "part").rename(ink / "a")

    def logged() -> list[tuple[Any, ...]]:
        names = ("event", "type", "id", "role", "node", "reason")
        return [tuple(each.get(name) for name in names) for each in log if "role" in each]

    agent = make({"ink": ink})
    agent.start()
    eventually(lambda: len(logged()) == 1)
    order("fail")
    eventually(lambda: len(logged()) == 2)
    sent = len(fake_server.reports)
    agent._changed()
    eventually(lambda: len(fake_server.reports) > sent)
    order("healthy node")
    eventually(lambda: len(logged()) == 3)
    events = ("appeared", "became unhealthy", "became healthy")
    assert [each[:5] for each in logged()] == [(each, "ink", "a", "node", "n1") for each in events]
    assert logged()[1][5] == "the page is torn"
