"""What the core provides to a prober: a state folder, and reports on its targets and itself."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from plugind.agent.report import report
from tests.agent.conftest import ORIGIN, StartSupervisor
from tests.promises import eventually

HEALTHY = (True, "healthy")


def test_a_folder_for_state_outlives_the_process(scripted: StartSupervisor, tmp_path: Path) -> None:
    state_dir = tmp_path / ".data" / "types" / "scripted"
    p = scripted(state_dir=state_dir)
    p.order("a", "remember")
    p.supervisor.start()
    p.shows({"a": {"node": (True, f"{state_dir} x")}})
    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
    p.order("b", "die")
    ended = (False, "the prober of scripted ended (status 7) and is being restarted")
    p.has_shown({"a": {"node": ended}, "b": {"*": ended}})
    p.remove("b")
    eventually(lambda: p.plugins()["a"]["node"][0])
    assert p.plugins()["a"]["node"][1].startswith(f"{state_dir} xx")


def test_a_folder_that_cannot_be_made_is_logged_and_not_given(
    scripted: StartSupervisor, tmp_path: Path, log: list[Any]
) -> None:
    (tmp_path / ".file").touch()
    p = scripted(state_dir=tmp_path / ".file" / "scripted")
    p.order("a", "healthy node")
    p.order("b", "remember")
    p.supervisor.start()
    p.shows({"a": {"node": HEALTHY}, "b": {"*": (False, "AssertionError:")}})
    assert [entry["event"] for entry in log] == ["a prober cannot keep state"]


def test_configured_targets_are_reported_as_configured(scripted: StartSupervisor) -> None:
    p = scripted()
    for name in ("named", "found", "odd"):
        p.order(name, "healthy node controller" if name == "named" else "healthy node")
    p.supervisor.start()
    eventually(lambda: p.supervisor.state.complete)

    def configured() -> set[tuple[str, str]]:
        plugins = report.build(ORIGIN, {"scripted": p.supervisor.state})["Plugins"]["scripted"]
        return {
            (id, role)
            for id, roles in plugins.items()
            for role, fingerprint in roles.items()
            if fingerprint.get("Configured") is True
        }

    assert configured() == {("named", "controller"), ("named", "node")}
    p.order("named", "fail")
    p.shows(
        {
            "named": dict.fromkeys(("controller", "node"), (False, "the page is torn")),
            "found": {"node": HEALTHY},
            "odd": {"node": HEALTHY},
        }
    )
    assert configured() == {("named", "controller"), ("named", "node")}


@pytest.mark.parametrize("word", ["a folder is closed", "two\nlines"])
def test_an_error_while_finding_targets_is_trouble(scripted: StartSupervisor, word: str) -> None:
    p = scripted()
    p.order("a", "healthy node")
    p.order(".trouble", word)
    p.supervisor.start()
    eventually(lambda: p.supervisor.trouble == " ".join(word.split()))
    p.shows({"a": {"node": HEALTHY}})
    p.remove(".trouble")
    eventually(lambda: p.supervisor.trouble == "")
