"""A node's ID and secret: generated once, kept, never replaced and never shared."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from plugind.agent.identity import ID_FILE, SECRET_FILE, Identity, hold
from plugind.errors import IdentityError
from plugind.wire.texts import is_node_id


@contextmanager
def opened(data_dir: Path) -> Iterator[Identity]:
    identity = hold(data_dir)
    yield identity
    identity.release()


def test_it_is_drawn_once_and_kept(tmp_path: Path) -> None:
    with opened(tmp_path / "new" / "dir") as first:
        assert is_node_id(first.node_id)
        assert len(first.secret) == 43
    with opened(tmp_path / "new" / "dir") as second:
        assert (second.node_id, second.secret) == (first.node_id, first.secret)
    with opened(tmp_path / "other") as other:
        assert other.node_id != first.node_id


def test_the_secret_is_its_owners_alone(tmp_path: Path) -> None:
    with opened(tmp_path):
        assert stat.S_IMODE((tmp_path / SECRET_FILE).stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / ID_FILE).stat().st_mode) == 0o644
        assert not list(tmp_path.glob("*.part"))


def test_the_secret_is_in_no_text(tmp_path: Path) -> None:
    with opened(tmp_path) as identity:
        assert identity.secret not in repr(identity)


def test_two_agents_do_not_share_one(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(IdentityError, match="in use by another agent"):
        hold(tmp_path)
    with opened(tmp_path):
        pass


@pytest.mark.parametrize("file", [ID_FILE, SECRET_FILE])
@pytest.mark.parametrize("content", [b"", b"\n", b"nonsense", b"\xff\x00", b"x" * 100])
def test_a_damaged_file_is_an_error(tmp_path: Path, file: str, content: bytes) -> None:
    with opened(tmp_path):
        pass
    (tmp_path / file).write_bytes(content)
    for _ in range(2):
        with pytest.raises(IdentityError, match=file) as caught:
            hold(tmp_path)
        assert "\n" not in str(caught.value)
    assert (tmp_path / file).read_bytes() == content


def test_a_lost_secret_is_an_error_and_a_lost_id_a_new_node(tmp_path: Path) -> None:
    with opened(tmp_path) as first:
        pass
    (tmp_path / ID_FILE).unlink()
    with opened(tmp_path) as second:
        assert second.node_id != first.node_id
    (tmp_path / SECRET_FILE).unlink()
    with pytest.raises(IdentityError, match="node-secret is missing; restore it"):
        hold(tmp_path)


def test_leftovers_of_an_interrupted_start_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / f"{ID_FILE}.part").write_text("half an")
    with opened(tmp_path) as identity:
        assert is_node_id(identity.node_id)


def test_a_folder_that_cannot_be_one_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(IdentityError, match="file/dir: Not a directory"):
        hold(tmp_path / "file" / "dir")
    (tmp_path / ID_FILE).mkdir()
    (tmp_path / SECRET_FILE).mkdir()
    with pytest.raises(IdentityError, match="Is a directory"):
        hold(tmp_path)
