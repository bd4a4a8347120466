"""Tables on narrow terminals: columns are left out or cells wrapped, but no text is cut off."""

from __future__ import annotations

import pytest

from tests.cli.conftest import REASON, SINCE
from tests.cli.terminal import Terminal
from tests.support import FakeAgent, Live

WORDS = {
    "list": ("plugin", "status"),
    "plugin": ("plugin", "status", "aws-ebs0"),
    "node": ("node", "status", "vm1"),
}


@pytest.fixture
def wire() -> str:
    return "nomad"


def last_column(screen: str, header: str) -> str:
    """Return the text of the last column, over all of its rows and lines, without white space."""
    lines = screen.splitlines()
    (top,) = (number for number, line in enumerate(lines) if line.strip().endswith(header))
    start = lines[top].index(header)
    return "".join("".join(line[start:].split()) for line in lines[top + 1 :])


@pytest.mark.parametrize("shown", WORDS)
@pytest.mark.parametrize("columns", [60, 72, 80, 200])
def test_since_and_reason_are_whole(api: Live, agent: FakeAgent, shown: str, columns: int) -> None:
    with Terminal(*WORDS[shown], columns=columns, address=api.address) as terminal:
        assert terminal.end() == 0
        screen = terminal.screen
    assert "…" not in screen
    assert all(len(line) <= columns for line in screen.splitlines())
    assert SINCE in screen
    last = "Reason" if shown == "list" else "Description"
    assert REASON.replace(" ", "") in last_column(screen, last)
    assert "aws-ebs0" in screen
    assert "vm1" in screen


@pytest.mark.parametrize("shown", [*WORDS, "nodes"])
@pytest.mark.parametrize("columns", [10, 40])
def test_nothing_crashes(api: Live, agent: FakeAgent, shown: str, columns: int) -> None:
    words = WORDS.get(shown, ("node", "status"))
    with Terminal(*words, columns=columns, address=api.address) as terminal:
        assert terminal.end() == 0
        screen = terminal.screen
    assert "…" not in screen
    assert "Traceback" not in screen
    if columns == 40 and shown in WORDS:
        assert all(part in screen for part in ("2026-01", "healthy", "fire"))


@pytest.mark.parametrize("columns", [40, 60])
def test_plugin_types_are_readable(columns: int) -> None:
    words = ("type", "list", "--all")
    with Terminal(*words, columns=columns, address="http://127.0.0.1:1") as terminal:
        assert terminal.end() == 0
        shown = [line.split() for line in terminal.screen.splitlines()]
    assert ["csi", "Container"] in [line[:2] for line in shown]
    assert ["Interface"] in [line[:1] for line in shown]
    assert all("active" in line for line in shown if line[:1] == ["csi"])
