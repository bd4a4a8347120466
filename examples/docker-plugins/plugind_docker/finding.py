"""Finds the plugins that Docker would find, and their addresses.

A socket takes precedence over other files with the same name, NAME.EXT over NAME/NAME.EXT, and
earlier folders over later ones. As in Docker, all other files with the same name are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from plugind.errors import ProbeFailed
from plugind_docker.settings import DockerSettings

FILE_MAXIMUM = 65_536


@dataclass(frozen=True)
class Target:
    """A plugin's name and its file: its socket, or a file that contains its address.

    ``stamp`` (inode and time of last change) changes whenever the file does.
    """

    name: str
    file: Path
    stamp: tuple[int, int]


@dataclass(frozen=True)
class Tls:
    """The certificates of a plugin and of plugind. Without ``ca`` nothing is verified, as in
    Docker."""

    ca: str = ""
    certificate: str = ""
    key: str = ""
    insecure: bool = False


@dataclass(frozen=True)
class Place:
    """The address of a plugin: a socket's ``path``, else ``host`` and ``port``."""

    url: str
    path: str = ""
    host: str = ""
    port: int = 0
    tls: Tls | None = None


def find_targets(settings: DockerSettings) -> dict[str, Target]:
    """Return all plugins by name."""
    specs = ((folder, suffix) for folder in settings.specs for suffix in (".spec", ".json"))
    folders = [(settings.sockets, ".sock"), *specs]
    found: dict[str, Target] = {}
    for folder, extension in folders:
        inner = Path(folder).glob(f"*/*{extension}")
        files = sorted(Path(folder).glob(f"*{extension}"))
        for file in [*files, *sorted(file for file in inner if file.stem == file.parent.name)]:
            if target := _target(file):
                found.setdefault(target.name, target)
    return found


def place_of(target: Target) -> Place:
    """Return the address of a target. Raise ProbeFailed for a file that contains none."""
    if target.file.suffix == ".sock":
        return Place(f"unix://{target.file}", path=str(target.file))
    try:
        with target.file.open("rb") as stream:
            text = stream.read(FILE_MAXIMUM).decode()
    except OSError as error:
        raise ProbeFailed(f"{target.file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ProbeFailed(f"{target.file} is not text") from error
    if target.file.suffix == ".json":
        return _place_of_json(target.file, text)
    return _place(target.file, text.strip(), None)


def _target(file: Path) -> Target | None:
    """Return the target of a file; None for a file that Docker ignores, such as a NAME.sock that is
    not a socket."""
    try:
        status = file.stat()
        counts = file.is_socket() if file.suffix == ".sock" else file.is_file()
    except OSError:
        return None
    return Target(file.stem, file, (status.st_ino, status.st_ctime_ns)) if counts else None


def _place_of_json(file: Path, text: str) -> Place:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProbeFailed(f"{file} is not JSON: {error}") from error
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
    url = f"{parts.scheme}://{host}"  # without any user and password, which are secrets
    return Place(f"{url}:{port}" if port else url, "", host, port or (443 if tls else 80), tls)
