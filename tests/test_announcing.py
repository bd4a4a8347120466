"""Packages are notified of changes in order, outside the write path, and learn of every loss."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from plugind.feed import hooks as announcing
from plugind.model import CatalogueChange
from tests.promises import SOON, promised
from tests.support import Api, FakeAgent, down, eventually, serving, up
from tests.test_registry import Installer

LISTENS = """
import threading
from plugind.plugin_type import hookimpl

received = []
order = threading.Event()
order.set()
errors = []

@hookimpl
def plugind_changed(change):
    received.append(change)
    order.wait(60)
    if errors:
        raise errors[0]
"""


@pytest.fixture
def installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installer]:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield Installer(folder)
    for name in ("t_one", "t_two"):
        if module := sys.modules.pop(name, None):
            module.order.set()


def listener(installer: Installer, dist: str) -> None:
    installer.install(dist, dist, LISTENS)


def received(name: str) -> list[CatalogueChange]:
    found: list[CatalogueChange] = sys.modules[name].received
    return found


def short(change: CatalogueChange) -> list[tuple[Any, ...]]:
    return sorted(
        (each.kind, each.type, each.id, each.role, each.node, each.healthy, each.reason)
        for each in change.instances
    )


def message(api: Api) -> str:
    ok, text = api.services.health()
    assert ok, "what packages do is no trouble of the server's"
    return text


def test_the_changes_that_are_announced(tmp_path: Path, installer: Installer) -> None:
    listener(installer, "t-one")
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        indexes = [
            agent.report({"nfs": {"controller": up(), "node": down()}}).json["Index"],
            agent.report({"nfs": {"controller": up(), "node": up()}}).json["Index"],
        ]
        agent.report({"nfs": {"controller": up(Provider="another"), "node": up()}})
        indexes.append(agent.report({"nfs": {"controller": down(), "node": up()}}).json["Index"])
        agent.report({"nfs": {"controller": down("worse"), "node": up()}})
        indexes.append(api.services.intake.silence([agent.node_id]))
        indexes.append(agent.beat().json["Index"])
        indexes.append(api.services.intake.forget_node(agent.node_id))
        eventually(lambda: len(received("t_one")) == len(indexes))
        changes = list(received("t_one"))
        assert message(api) == "ok"
    assert [change.index for change in changes] == indexes
    assert [change.missed for change in changes] == [0] * len(indexes)
    assert {each.node_id for change in changes for each in change.instances} == {agent.node_id}
    came, recovered, broke, lost, back, went = map(short, changes)
    assert came == [
        ("came", "csi", "nfs", "controller", "vm1", True, "healthy"),
        ("came", "csi", "nfs", "node", "vm1", False, "disk on fire"),
    ]
    assert recovered == [("healthy", "csi", "nfs", "node", "vm1", True, "healthy")]
    assert broke == [("unhealthy", "csi", "nfs", "controller", "vm1", False, "disk on fire")]
    ((kind, *_, reason),) = lost
    assert (kind, reason[:27]) == ("unhealthy", "nothing heard of node vm1 s")
    assert back == [("healthy", "csi", "nfs", "node", "vm1", True, "healthy")]
    assert [each[0] for each in went] == ["went", "went"]


def test_a_package_that_hangs_delays_no_other_and_learns_what_it_missed(
    tmp_path: Path, installer: Installer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "QUEUE_MAXIMUM", 3)
    listener(installer, "t-one")
    listener(installer, "t-two")
    with capture_logs() as log, serving(tmp_path, live=False) as api:
        hung = sys.modules["t_one"]
        hung.order.clear()
        agent = FakeAgent(api)
        agent.report({"p": {"node": up()}})
        eventually(lambda: len(received("t_one")) == 1)
        for number in range(10):
            agent.report({"p": {"node": up() if number % 2 else down()}})
            eventually(lambda number=number: len(received("t_two")) == number + 2)
        assert "t-one of t-one 1.0 missed 7 changes, for it is too slow" in message(api)
        assert "t-two" not in message(api)
        hung.order.set()
        eventually(lambda: len(received("t_one")) == 4)
    assert [change.missed for change in received("t_one")] == [0, 7, 0, 0]
    assert received("t_one")[-1].index == received("t_two")[-1].index
    events = [each["event"] for each in log]
    assert events.count("a package is too slow and misses changes") == 1
    (counted,) = (each for each in log if each["event"] == "a package missed changes")
    assert counted["missed"] == 7


def test_a_package_that_fails_goes_on_and_is_reported(tmp_path: Path, installer: Installer) -> None:
    listener(installer, "t-one")
    with capture_logs() as log, serving(tmp_path, live=False) as api:
        module = sys.modules["t_one"]
        module.errors.append(KeyError("the secret"))
        agent = FakeAgent(api)
        for number in range(4):
            agent.report({"p": {"node": up() if number % 2 else down()}})
        eventually(lambda: "failed on 4 changes" in message(api))
        assert message(api).endswith("t-one of t-one 1.0 failed on 4 changes, last with KeyError")
        module.errors[0] = SystemExit()
        agent.report({"p": {"node": down()}})
        eventually(lambda: "failed on 5 changes, last with SystemExit" in message(api))
        module.errors.clear()
        agent.report({"p": {"node": up()}})
        eventually(lambda: len(received("t_one")) == 6)
    failures = [each for each in log if each["event"] == "a package failed on a change"]
    assert len(failures) == 2, "the same again is not logged again"


def test_the_server_ends_in_time_and_says_what_was_not_announced(
    tmp_path: Path, installer: Installer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "CLOSE_TIMEOUT", 0.2)
    listener(installer, "t-one")
    with capture_logs() as log, ExitStack() as closing:
        api = closing.enter_context(serving(tmp_path, live=False))
        sys.modules["t_one"].order.clear()
        agent = FakeAgent(api)
        for number in range(3):
            agent.report({"p": {"node": up() if number % 2 else down()}})
        eventually(lambda: received("t_one"))
        (announced,) = api.services.announcer._listeners
        eventually(lambda: len(announced._waiting) == 2)
        with promised(SOON):
            closing.close()
    (lost,) = (each for each in log if each["event"] == "a package did not get all changes")
    assert lost["left"] == 2


def test_changes_that_wait_at_the_end_are_announced(tmp_path: Path, installer: Installer) -> None:
    listener(installer, "t-one")
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        for number in range(50):
            agent.report({"p": {"node": up() if number % 2 else down()}})
    assert len(received("t_one")) == 50


def test_a_package_that_does_not_return_is_in_health(
    tmp_path: Path, installer: Installer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "SLOW", 0.01)
    listener(installer, "t-one")
    with serving(tmp_path, live=False) as api:
        sys.modules["t_one"].order.clear()
        FakeAgent(api).report({"p": {"node": up()}})
        text = r"t-one of t-one 1\.0 has been called for \d+ s"
        eventually(lambda: re.search(text, message(api)))
        sys.modules["t_one"].order.set()
        eventually(lambda: message(api) == "ok")
