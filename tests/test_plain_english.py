"""The language of the code: plain English in the rooms that are done, and a tool that counts it."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tools.plain_english import Figures, dialect_in, is_imperative, measure

ROOT = Path(__file__).parent.parent

# Files and folders in which every function's docstring opens with an imperative and no word of the
# dialect is left. One a line, sorted; the list only grows.
DONE = [
    "README.md",
    "benchmarks",
    "docs/acl.md",
    "docs/architecture.md",
    "docs/decisions.md",
    "docs/etcd.md",
    "docs/events.md",
    "docs/exposing.md",
    "docs/filtering.md",
    "docs/history.md",
    "docs/limits.md",
    "docs/metrics.md",
    "docs/nomad.md",
    "docs/performance.md",
    "docs/plugin-types",
    "docs/plugin-types.md",
    "docs/running.md",
    "docs/scaling.md",
    "docs/servers.md",
    "examples",
    "plugin_types",
    "plugind/acl",
    "plugind/agent",
    "plugind/api",
    "plugind/asgi.py",
    "plugind/availability",
    "plugind/catalogue",
    "plugind/cli",
    "plugind/client",
    "plugind/config",
    "plugind/entry.py",
    "plugind/errors.py",
    "plugind/events",
    "plugind/fields.py",
    "plugind/filtering",
    "plugind/handover.py",
    "plugind/init.py",
    "plugind/logs.py",
    "plugind/metrics",
    "plugind/model",
    "plugind/plugin_type.py",
    "plugind/printable.py",
    "plugind/processes",
    "plugind/schemas",
    "plugind/state",
    "plugind/store",
    "plugind/tally.py",
    "plugind/testing",
    "plugind/toolbox",
    "plugind/types",
    "plugind/ui",
    "plugind/wire",
    "plugind/wsgi.py",
    "tools",
]

# The share of imperative docstrings over the whole product; raise it as rooms are done.
IMPERATIVE_SHARE = 0.99


@pytest.mark.parametrize("name", DONE)
def test_a_room_that_is_done_has_no_dialect(name: str) -> None:
    found = [f"{place} in {kind}" for kind, place in _measured(name).dialect]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", DONE)
def test_a_room_that_is_done_has_imperative_docstrings(name: str) -> None:
    found = [str(place) for place in _measured(name).not_imperative]
    assert not found, "\n".join(found)


def test_the_share_of_imperative_docstrings_does_not_fall() -> None:
    figures = measure([ROOT / name for name in ("plugind", "plugin_types", "examples")])
    assert figures.docstrings > 1000, "without docstrings the share means nothing"
    assert 1 - len(figures.not_imperative) / figures.docstrings >= IMPERATIVE_SHARE


@pytest.mark.parametrize(
    "docstring",
    [
        "Return the name.",
        "Re-read the file.",
        "Do nothing.",
        "Report to a server.",
        "Wait, then end.",
    ],
)
def test_an_imperative_is_recognized(docstring: str) -> None:
    assert is_imperative(docstring)


@pytest.mark.parametrize(
    "docstring",
    [
        "The name of the node.",
        "What is known.",
        "Whether it is there.",
        "Returns the name.",
        "Name of the node.",
        "Set of names.",
        "return the name.",
        "",
    ],
)
def test_another_opening_is_not_imperative(docstring: str) -> None:
    assert not is_imperative(docstring)


def test_dialect_is_found_in_every_kind_of_text(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        '"""What\nis it."""\n'
        "def judge(told):\n"
        "    # so many\n"
        "    # strangers\n"
        "    raise ValueError(f'{told} is anew')\n"
    )
    document = tmp_path / "page.md"
    document.write_text("First.\nWhoever reads this.\n")
    found = sorted((kind, place.line, place.text) for kind, place in measure([tmp_path]).dialect)
    assert found == [
        ("comments", 4, "so many"),
        ("comments", 5, "strangers"),
        ("docstrings", 1, "what is"),
        ("documents", 2, "whoever"),
        ("messages", 6, "anew"),
        ("names", 3, "judge (judge)"),
        ("names", 3, "told (told)"),
    ]


def test_words_that_only_look_like_dialect_are_left_alone() -> None:
    assert list(dialect_in("A house-wide foretold flawless report silently strange.")) == [
        ("house", 0)
    ]


def test_private_functions_called_from_one_place_are_counted(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "def public(): return _once() + _twice() + _twice()\n"
        "def _once(): return 1\n"
        "def _twice(): return 2\n"
        "def _never(): return 3\n"
        "class C:\n"
        "    def __init__(self): self._once_too(); Thread(target=self._handed_over)\n"
        "    def _once_too(self): ...\n"
        "    def _handed_over(self): ...\n"
        "    def _hook(self): super()._hook()\n"
    )
    figures = measure([module])
    assert [place.text for place in figures.called_once] == [
        "_once (1 lines)",
        "_once_too (1 lines)",
    ]
    assert figures.functions == 8


def test_the_tool_prints_its_figures() -> None:
    command = [sys.executable, "tools/plain_english.py", "--list", "plugind/model"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for figure in ("rooms: 1", "functions: ", "called from one place: ", "imperative docstrings"):
        assert figure in output
    assert "plugind/model/" in output


@cache
def _measured(name: str) -> Figures:
    path = ROOT / name
    assert path.exists(), f"{name} is no longer there: take it off the list"
    return measure([path])
