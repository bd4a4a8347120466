"""What the csi prober remembers across restarts of the agent, whatever happens to its file."""

# A row of a table reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from plugin_types.csi import ledger
from plugin_types.csi.ledger import ENTRIES_MAXIMUM, Entry, Ledger, Post
from plugin_types.csi.roles import ROLES
from plugind.toolbox.state_file import SIZE_MAXIMUM, StateFile
from plugind.wire.fields import ID_PATTERN

NODE = frozenset({"node"})
FULL = Entry("ebs0", NODE, NODE, "ebs.example", "boot/1/2", True, 7, 8, True)


def test_it_comes_back(tmp_path: Path) -> None:
    file = StateFile(tmp_path, ledger.FILE)
    kept = ledger.load(file)
    kept.note("/a\udcff.sock", FULL)
    kept.note("/b.sock", Entry())
    kept.note_task("job\ngroup\ntask", Post("ebs0", NODE))
    kept.note_task("", Post("nobody", NODE))
    kept.save(file)
    again = ledger.load(file)
    assert (again.sockets, again.tasks) == (kept.sockets, kept.tasks)
    assert again.tasks == {"job\ngroup\ntask": Post("ebs0", NODE)}
    assert (tmp_path / ledger.FILE).stat().st_mode & 0o777 == 0o600


def test_only_news_is_written(tmp_path: Path) -> None:
    file = StateFile(tmp_path, ledger.FILE)
    kept = Ledger()
    kept.note("/a.sock", FULL)
    kept.save(file)
    before = (tmp_path / ledger.FILE).stat().st_ino
    kept.note("/a.sock", replace(FULL))
    kept.save(file)
    assert (tmp_path / ledger.FILE).stat().st_ino == before


def test_it_is_bounded(tmp_path: Path) -> None:
    kept = Ledger()
    longest = replace(FULL, provider="\u20ac" * 128, id="x" * 128)
    for number in range(ENTRIES_MAXIMUM + 5):
        kept.note(f"/{'é' * 100}{number}", longest)
        kept.note_task("\u20ac" * 384 + str(number), Post("x" * 128, NODE))
    kept.note("/last", FULL)
    file = StateFile(tmp_path, ledger.FILE)
    kept.save(file)
    assert len(ledger.load(file).sockets) == len(ledger.load(file).tasks) == ENTRIES_MAXIMUM
    assert ledger.load(file).socket("/last") == FULL
    assert (tmp_path / ledger.FILE).stat().st_size < SIZE_MAXIMUM


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"\xff", b'{"a": NaN}', b'{"a": 1, "a": 2}', b" " * (SIZE_MAXIMUM + 1)],
    ids=lambda text: repr(text[:9]),
)  # fmt: skip
def test_a_damaged_file_is_a_warning_and_an_empty_ledger(tmp_path: Path, text: bytes) -> None:
    (tmp_path / ledger.FILE).write_bytes(text)
    file = StateFile(tmp_path, ledger.FILE)
    with capture_logs() as log:
        kept = ledger.load(file)
    assert not kept.sockets
    assert [each["event"] for each in log] == ["state is lost"]
    kept.note("/a.sock", FULL)
    kept.save(file)
    assert ledger.load(file).socket("/a.sock") == FULL


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file = StateFile(tmp_path / "file", ledger.FILE)
    with capture_logs() as log:
        kept = ledger.load(file)
        kept.note("/a.sock", FULL)
        kept.save(file)
    assert log[-1]["event"] == "state cannot be saved"
    assert StateFile(None, ledger.FILE).load() == {}
    assert StateFile(None, ledger.FILE).save({"a": 1})


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([*ROLES]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "roles", "served", "provider", "process", "was_healthy", "born", "dead_since", "left"]), inner),
    max_leaves=12,
)  # fmt: skip


@given(plain, plain)
def test_json_of_another_form_does_no_harm(tmp_path_factory: Any, sockets: Any, tasks: Any) -> None:
    folder = tmp_path_factory.mktemp("state")
    text = {
        "version": 1,
        "sockets": [["/a", sockets], sockets, tasks],
        "tasks": [["k", tasks], tasks],
    }
    (folder / ledger.FILE).write_text(json.dumps(text))
    found = ledger.load(StateFile(folder, ledger.FILE))
    for one in [*found.sockets.values(), *found.tasks.values()]:
        assert not one.id or ID_PATTERN.fullmatch(one.id)
        assert one.roles <= ROLES.keys()


def test_the_one_id_of_a_driver() -> None:
    kept = Ledger()
    kept.note("/a", FULL)
    kept.note("/b", replace(FULL, provider="other"))
    assert kept.id_of("ebs.example") == "ebs0"
    assert kept.id_of("") == kept.id_of("unheard of") == ""
    kept.note("/c", replace(FULL, id="ebs1"))
    assert kept.id_of("ebs.example") == ""
