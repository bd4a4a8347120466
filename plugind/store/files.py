"""Makes files that are complete and durable before they get their name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plugind.errors import StoreError


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Give the path of a file to create, in a temporary folder. After the block the file is durable
    and has the name ``target``, which must not exist yet; other files in the folder are deleted."""
    check_is_new(target)
    with (
        faults_of(target),
        tempfile.TemporaryDirectory(prefix=".plugind-", dir=target.parent) as folder,
    ):
        yield (copy := Path(folder) / "copy")
        copy.chmod(0o600)  # it contains the hashes of nodes' secrets
        sync(copy)
        os.link(copy, target)  # a rename would overwrite a file created meanwhile
        sync(target.parent)


def check_is_new(target: Path) -> None:
    """Raise StoreError if a file exists already."""
    if target.exists():
        raise StoreError(f"{target} is there already: choose another name")


@contextmanager
def faults_of(path: Path) -> Iterator[None]:
    """Raise an error of the operating system as a StoreError of one line that names the file."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{error.filename or path}: {error.strerror}") from error


def sync(path: Path) -> None:
    """Make a file's contents, or a folder's names, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
