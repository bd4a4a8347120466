"""Networks' configurations, read as container runtimes read them.

The format is that of the CNI specification, section 1
(https://www.cni.dev/docs/spec/#section-1-network-configuration-format): a list of plugins in a
``.conflist`` file, one plugin in any other.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from plugin_types.cni.schemas import LIST_MAXIMUM, VERSION_MAXIMUM
from plugind.fields import ID_PATTERN

SUFFIXES = (".conf", ".conflist", ".json")
FILE_MAXIMUM = 1 << 20
"""Bytes of a configuration; runtimes' own have a few hundred."""

_LIST_SUFFIX = ".conflist"
_OLDEST = "0.1.0"  # what a configuration without a version is written in
_TYPE_MAXIMUM = 255  # of a file's name
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Network:
    """One configuration: its network's name ("" when it has none), the versions of CNI that it may
    be run with, the newest last, and the executables it needs.

    ``flaw`` says why no runtime can use it.
    """

    path: str
    name: str = ""
    versions: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    flaw: str = ""

    @property
    def file(self) -> str:
        return os.path.basename(self.path)

    @property
    def id(self) -> str:
        return plugin_id(self.name)


class _Flaw(Exception):
    pass


def plugin_id(name: str) -> str:
    """The name as a plugin's ID: every character that an ID cannot have becomes a dash."""
    id = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("._-")[:128]
    return id if ID_PATTERN.fullmatch(id) else "unnamed"


def read_network(path: str) -> Network | None:
    """The configuration in that file; None when the file is gone."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(FILE_MAXIMUM + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Network(path, flaw=f"cannot read {path}: {(error.strerror or str(error)).lower()}")
    if len(data) > FILE_MAXIMUM:
        return Network(path, flaw=f"{path} is longer than {FILE_MAXIMUM:,} bytes")
    return parse_network(path, data)


def parse_network(path: str, data: bytes) -> Network:
    """The configuration that a file of that path holds."""
    network = Network(path)
    try:
        document = _document(data)
        network = replace(network, name=_name(document))
        if not _NAME.fullmatch(network.name):
            raise _Flaw(f"names its network {network.name[:100]!r}; CNI allows no such name")
        return replace(network, versions=_versions(document), needs=_needs(path, document))
    except _Flaw as flaw:
        return replace(network, flaw=f"{path} {flaw}")


def _document(data: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _Flaw(f"is no JSON: {error}") from error
    if not isinstance(document, Mapping):
        raise _Flaw("holds no JSON object")
    return document


def _name(document: Mapping[str, Any]) -> str:
    name = document.get("name")
    if not isinstance(name, str) or not name:
        raise _Flaw('has no "name"')
    return name


def _versions(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Since CNI 1.1 a configuration may name several, of which the runtime chooses."""
    versions = document.get("cniVersions") or [document.get("cniVersion") or _OLDEST]
    if not isinstance(versions, list) or not all(map(is_version, versions)):
        raise _Flaw('has a "cniVersion" that is none')
    return tuple(sorted(versions, key=version_order))


def version_order(version: str) -> tuple[tuple[int, ...], str]:
    """What versions are sorted by: 1.10.0 comes after 1.9.0."""
    return tuple(map(int, re.findall(r"\d+", version))), version


def is_version(value: Any) -> bool:
    return isinstance(value, str) and bool(
        re.fullmatch(r"\d{1,9}(\.[0-9A-Za-z+-]+)*", value, re.ASCII)
        and len(value) <= VERSION_MAXIMUM
    )


def _needs(path: str, document: Mapping[str, Any]) -> tuple[str, ...]:
    """Each plugin's executable, and the one that gives it addresses, which it runs itself."""
    needs: dict[str, None] = {}
    for plugin in _plugins(path, document):
        needs[_type(plugin)] = None
        match plugin:
            case {"ipam": {"type": str(type)} as ipam} if type:
                needs[_type(ipam)] = None
    if len(needs) > LIST_MAXIMUM:
        raise _Flaw(f"needs more than {LIST_MAXIMUM:,} executables")
    return tuple(needs)


def _plugins(path: str, document: Mapping[str, Any]) -> list[Any]:
    if path.endswith(_LIST_SUFFIX):
        plugins = document.get("plugins")
        if not isinstance(plugins, list) or not plugins:
            raise _Flaw('has no list "plugins"')
        return plugins
    if "plugins" in document and "type" not in document:
        raise _Flaw(f"holds a list of plugins; the name of such a file ends in {_LIST_SUFFIX}")
    return [document]


def _type(plugin: Any) -> str:
    match plugin:
        case {"type": str(type)} if type and "/" not in type and "\0" not in type:
            if len(type.encode(errors="replace")) <= _TYPE_MAXIMUM:
                return type
    raise _Flaw('has a plugin without a "type" that can be a file\'s name')
