"""The files and sockets that an agent may run, read and connect to as root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plugind.toolbox import trust
from plugind.toolbox.trust import why_diverted, why_not_run, why_untrusted

OTHER = 12_345

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Create a program owned by root in folders owned by root, and return its path."""
    folder = tmp_path / "bin"
    folder.mkdir(mode=0o755)
    for parent in (folder, *folder.parents):
        assert parent.stat().st_uid == 0
    program = folder / "check"
    program.touch(mode=0o755)
    program.chmod(0o755)
    return program


def test_a_file_that_only_root_can_change_is_trusted(place: Path) -> None:
    assert why_untrusted(str(place)) == ""
    place.chmod(0o775)
    assert why_untrusted(str(place)) == "", "the group is root's"
    place.parent.chmod(0o1777)
    assert why_untrusted(str(place)) == "", "in a sticky folder only owners replace files"
    assert why_untrusted(str(place.parent / "missing")) == ""
    assert why_untrusted("/\0") == ""


def test_the_file_itself(place: Path) -> None:
    place.chmod(0o757)
    assert why_untrusted(str(place)) == f"{place} can be written by others than root"
    place.chmod(0o775)
    os.chown(place, 0, OTHER)
    assert why_untrusted(str(place)) == f"{place} can be written by others than root"
    os.chown(place, OTHER, 0)
    assert why_untrusted(str(place)).startswith(f"{place} belongs to user {OTHER}")


def test_the_folders_above(place: Path) -> None:
    place.parent.chmod(0o777)
    assert why_untrusted(str(place)) == f"{place.parent} can be written by others than root"
    place.parent.chmod(0o755)
    os.chown(place.parent, OTHER, 0)
    assert why_untrusted(str(place)).startswith(f"{place.parent} belongs to user {OTHER}")


def test_links_on_the_way(place: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("bin")
    assert why_untrusted(str(link / "check")) == ""
    assert why_diverted(str(link / "check")) == ""
    os.lchown(link, OTHER, 0)
    assert why_untrusted(str(link / "check")).startswith(f"{link} belongs to user {OTHER}")
    assert why_diverted(str(link / "check")) == (
        f"{link} is a symbolic link of user {OTHER}, which is not followed"
    )
    place.chmod(0o757)
    os.lchown(link, 0, 0)
    assert why_untrusted(str(link / "check")) == f"{place} can be written by others than root"


def test_links_that_lead_up_and_in_circles(place: Path, tmp_path: Path) -> None:
    (tmp_path / "up").symlink_to("../" + tmp_path.name + "/./bin/../bin")
    assert why_untrusted(str(tmp_path / "up" / "check")) == ""
    place.chmod(0o757)
    assert why_untrusted(str(tmp_path / "up" / "check")) != ""
    circle = tmp_path / "circle"
    circle.symlink_to("circle")
    assert why_untrusted(str(circle)) == ""


def test_an_agent_of_another_user_may_do_what_it_may(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to("bin")
    os.lchown(link, OTHER, 0)
    os.chown(place, OTHER, 0)
    monkeypatch.setattr(trust.os, "geteuid", lambda: OTHER)
    assert why_untrusted(str(place)) == ""
    assert why_diverted(str(link / "check")) == ""
    monkeypatch.setattr(trust.os, "geteuid", lambda: OTHER + 1)
    assert why_diverted(str(link / "check")) != ""


def test_the_files_that_a_command_runs(place: Path, tmp_path: Path) -> None:
    """Check the program, the interpreter of a script and the script of an interpreter."""
    search = str(place.parent)
    assert why_not_run([str(place)], "") == ""
    assert why_not_run(["check"], search) == ""
    interpreter = tmp_path / "interpreter"
    interpreter.touch(mode=0o755)
    place.write_text(f"#! {interpreter} -x\n")
    assert why_not_run(["check"], search) == ""
    os.chown(interpreter, OTHER, 0)
    theirs = f"{interpreter} belongs to user {OTHER}"
    assert why_not_run(["check"], search).startswith(theirs)
    assert why_not_run(["/bin/sh", "-e", str(interpreter), "x"], "").startswith(theirs)
    assert why_not_run(["sh", str(interpreter).removeprefix("/")], "/bin").startswith(theirs)
    assert why_not_run(["/bin/echo", str(interpreter)], "") == "", "an argument like any other"
    assert why_not_run(["/bin/sh", "-c", str(interpreter)], "") == ""


def test_a_command_that_is_not_there_must_not_be_run(tmp_path: Path) -> None:
    """Refuse a missing command, since another user could create it in the next moment."""
    tmp_path.chmod(0o1777)
    for missing in (str(tmp_path / "missing"), "missing"):
        with pytest.raises(FileNotFoundError):
            why_not_run([missing], str(tmp_path))
