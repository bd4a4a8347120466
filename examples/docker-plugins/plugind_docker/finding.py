"""Finds the plugins that Docker would find, and where each listens.

A name's socket goes before its files, NAME.EXT before NAME/NAME.EXT, earlier folders before later
ones; what comes later under the same name is never looked at, by Docker neither.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from plugind.errors import ProbeFailed
from plugind_docker.settings import DockerSettings

FILE_MAXIMUM = 65_536


@dataclass(frozen=True)
class Target:
    """A plugin by its name, and the file that tells of it: its socket, or one that names it.

    ``stamp`` tells a file from what it was before (inode, when it was changed).
    """

    name: str
    file: Path
    stamp: tuple[int, int]


@dataclass(frozen=True)
class Tls:
    """How a plugin is trusted, and what it trusts plugind by. Without ``ca`` nothing is verified,
    as in Docker."""

    ca: str = ""
    certificate: str = ""
    key: str = ""
    insecure: bool = False


@dataclass(frozen=True)
class Place:
    """Where a plugin listens: at a socket's ``path``, else at ``host`` and ``port``."""

    url: str
    path: str = ""
    host: str = ""
    port: int = 0
    tls: Tls | None = None


def find_targets(settings: DockerSettings) -> dict[str, Target]:
    """The plugins that there are, by name."""
    folders = [(settings.sockets, ".sock"), *_spec_folders(settings)]
    found: dict[str, Target] = {}
    for folder, extension in folders:
        for file in _files(Path(folder), extension):
            if target := _target(file):
                found.setdefault(target.name, target)
    return found


def place_of(target: Target) -> Place:
    """Where a target listens. Raises ProbeFailed for a file that does not say."""
    if target.file.suffix == ".sock":
        return Place(f"unix://{target.file}", path=str(target.file))
    text = _read(target.file)
    if target.file.suffix == ".json":
        return _place_of_json(target.file, text)
    return _place(target.file, text.strip(), None)


def _spec_folders(settings: DockerSettings) -> Iterator[tuple[str, str]]:
    for folder in settings.specs:
        yield folder, ".spec"
        yield folder, ".json"


def _files(folder: Path, extension: str) -> Iterator[Path]:
    yield from sorted(folder.glob(f"*{extension}"))
    yield from sorted(file for file in folder.glob(f"*/*{extension}") if _names_its_folder(file))


def _names_its_folder(file: Path) -> bool:
    return file.stem == file.parent.name


def _target(file: Path) -> Target | None:
    """None for what Docker does not look at: an entry in a socket's place that is none, say."""
    try:
        status = file.stat()
        counts = file.is_socket() if file.suffix == ".sock" else file.is_file()
    except OSError:
        return None
    return Target(file.stem, file, (status.st_ino, status.st_ctime_ns)) if counts else None


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return stream.read(FILE_MAXIMUM).decode()
    except OSError as error:
        raise ProbeFailed(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ProbeFailed(f"{file} is no text") from error


def _place_of_json(file: Path, text: str) -> Place:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProbeFailed(f"{file} is no JSON: {error}") from error
    match document:
        case {"Addr": str(address), "TLSConfig": Mapping() as tls}:
            return _place(file, address, _tls(file, tls))
        case {"Addr": str(address)}:
            return _place(file, address, None)
    raise ProbeFailed(f"{file} has no Addr")


def _tls(file: Path, given: Mapping[str, Any]) -> Tls:
    names = {"CAFile": "ca", "CertFile": "certificate", "KeyFile": "key"}
    values = {name: given.get(key, "") for key, name in names.items()}
    if not all(isinstance(value, str) for value in values.values()):
        raise ProbeFailed(f"{file}: CAFile, CertFile and KeyFile must be texts")
    return Tls(**values, insecure=given.get("InsecureSkipVerify") is True)


def _place(file: Path, address: str, tls: Tls | None) -> Place:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ProbeFailed(f"{file} has no address: {error}") from error
    if parts.scheme == "unix" and parts.path:
        return Place(address, path=parts.path)
    if parts.scheme not in ("tcp", "http", "https") or not host:
        raise ProbeFailed(f"{file} has no address such as unix:///PATH or tcp://HOST:PORT")
    if parts.scheme == "https" and tls is None:
        tls = Tls()
    url = f"{parts.scheme}://{host}"  # a user or password in it is nobody's business
    return Place(f"{url}:{port}" if port else url, "", host, port or (443 if tls else 80), tls)
