"""Networks' configurations, read as container runtimes read them.

The format is that of the CNI specification, section 1
(https://www.cni.dev/docs/spec/#section-1-network-configuration-format): a list of plugins in a
``.conflist`` file, one plugin in any other. Since CNI 1.1, a list may have more plugins in a folder
next to it that is named after the network.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from plugin_types.cni import go_json
from plugin_types.cni.go_json import Object
from plugin_types.cni.schemas import LIST_MAXIMUM, VERSION_MAXIMUM
from plugind.fields import ID_PATTERN
from plugind.toolbox.trust import why_untrusted

SUFFIXES = (".conf", ".conflist", ".json")
FILE_MAXIMUM = 1 << 20
"""Bytes of a configuration; those that come with runtimes have a few hundred."""

_LIST_SUFFIX = ".conflist"
_PLUGIN_SUFFIX = ".conf"  # for files in a network's folder
_OLDEST = "0.1.0"  # the version of a configuration that names none
_TYPE_MAXIMUM = 255  # bytes, as for any file's name
_DELEGATES_MAXIMUM = 8  # levels of plugins that run other plugins
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Need:
    """An executable that a network needs: its name, and versions of CNI, the newest last.

    The executable must support at least one of these versions.
    """

    name: str
    versions: tuple[str, ...]


@dataclass(frozen=True)
class Network:
    """One configuration: its network's name ("" when it has none), the versions of CNI that it may
    be run with, the newest last, and the names of the executables it needs.

    ``delegated`` are executables that its plugins run themselves, each with the versions of its own
    configuration. ``problem`` says why no runtime can use the configuration.
    """

    path: str
    name: str = ""
    versions: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    problem: str = ""
    delegated: tuple[Need, ...] = ()

    @property
    def file(self) -> str:
        return os.path.basename(self.path)

    @property
    def id(self) -> str:
        return plugin_id(self.name)

    @property
    def all_needs(self) -> tuple[Need, ...]:
        """Return every need once, in the order in which the executables are first run."""
        own = (Need(name, self.versions) for name in self.needs)
        return tuple(dict.fromkeys((*own, *self.delegated)))

    @property
    def executables(self) -> tuple[str, ...]:
        """Return the names of all executables that it needs, each once."""
        return tuple(dict.fromkeys(need.name for need in self.all_needs))


class _Unusable(Exception):
    """The reason why no runtime can use a configuration."""


def plugin_id(name: str) -> str:
    """Return the name as a plugin's ID: every character that an ID cannot have becomes a dash."""
    id = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("._-")[:128]
    return id if ID_PATTERN.fullmatch(id) else "unnamed"


def read_network(path: str) -> Network | None:
    """Return the configuration in that file; None when the file is gone."""
    try:
        return parse_network(path, _read(path))
    except FileNotFoundError:
        return None
    except _Unusable as error:
        return Network(path, problem=str(error))


def _read(path: str) -> bytes:
    """Return a file's bytes.

    Raise FileNotFoundError, or _Unusable for a file that cannot be read, is too long, or must not
    be trusted by an agent that runs as root.
    """
    if reason := why_untrusted(path):
        raise _Unusable(f"{path} is not read: {reason}")
    try:
        with open(path, "rb") as stream:
            data = stream.read(FILE_MAXIMUM + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _Unusable(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    if len(data) > FILE_MAXIMUM:
        raise _Unusable(f"{path} is longer than {FILE_MAXIMUM:,} bytes")
    return data


def parse_network(path: str, data: bytes) -> Network:
    """Return the configuration in ``data``, the content of the file ``path``.

    The files in its network's folder are read as well.
    """
    name, is_list = "", path.endswith(_LIST_SUFFIX)
    try:
        document = _document(path, data)
        top = document.get if is_list else partial(go_json.field, document)
        given = top("name")
        if not isinstance(given, str) or not given:
            raise _Unusable(f'{path} has no "name"')
        name = go_json.text(given)
        if not _NAME.fullmatch(name):
            raise _Unusable(f"{path} names its network {name[:100]!r}; CNI allows no such name")
        versions = _versions(path, top("cniVersions"), top("cniVersion"), (_OLDEST,))
        plugins = list(_listed(path, document, name) if is_list else _single(path, document))
        needs = _needs(plugins)
        delegated = tuple(_delegated(plugins, versions))
        network = Network(path, name, versions, needs, delegated=delegated)
        if len(network.all_needs) > LIST_MAXIMUM:
            raise _Unusable(f"{path} needs more than {LIST_MAXIMUM:,} executables")
    except _Unusable as error:
        return Network(path, name, problem=str(error))
    return network


@dataclass(frozen=True)
class _Plugin:
    """The configuration of a plugin, and the path of its file."""

    path: str
    document: Object

    def type_of(self, document: Any) -> str:
        """Return the name of the executable that an object has as its type. Raise _Unusable."""
        type_ = go_json.text(go_json.field(document, "type")) if isinstance(document, dict) else ""
        length = len(type_.encode())
        if not 0 < length <= _TYPE_MAXIMUM or "/" in type_ or "\0" in type_:
            raise _Unusable(f'{self.path} has a plugin without a "type" that can be a file\'s name')
        return type_

    def needs(self) -> Iterator[str]:
        """Yield the plugin's executable, and the IPAM executable that it runs itself, if any."""
        yield self.type_of(self.document)
        ipam = go_json.field(self.document, "ipam")
        if ipam is not None and not isinstance(ipam, dict):
            raise _Unusable(f'{self.path} has a plugin whose "ipam" is not an object')
        if ipam and go_json.field(ipam, "type") not in (None, ""):
            yield self.type_of(ipam)


def _document(path: str, data: bytes) -> Object:
    try:
        document = go_json.read(data)
    except ValueError as error:
        raise _Unusable(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise _Unusable(f"{path} holds no JSON object")
    return document


def _versions(path: str, several: Any, one: Any, default: tuple[str, ...]) -> tuple[str, ...]:
    """Return the versions that a configuration names, sorted.

    Since CNI 1.1 there may be several, from which the runtime chooses; if there is a ``cniVersion``
    as well as ``cniVersions``, it is added to them.
    """
    versions = [] if several is None else several
    if one and isinstance(versions, list):
        versions = [*versions, one]
    if not isinstance(versions, list) or not all(map(is_version, versions)):
        raise _Unusable(f'{path} has a "cniVersion" or "cniVersions" that CNI cannot read')
    return tuple(sorted(set(versions), key=version_order)) or default


def version_order(version: str) -> tuple[tuple[int, ...], str]:
    """Return the key that versions are sorted by: 1.10.0 comes after 1.9.0."""
    return tuple(map(int, re.findall(r"\d+", version))), version


def is_version(value: Any) -> bool:
    return isinstance(value, str) and bool(
        re.fullmatch(r"\d{1,9}(\.[0-9A-Za-z+-]+)*", value, re.ASCII)
        and len(value) <= VERSION_MAXIMUM
    )


def _single(path: str, document: Object) -> Iterator[_Plugin]:
    if go_json.field(document, "type") is None and "plugins" in document:
        raise _Unusable(
            f"{path} holds a list of plugins; the name of such a file ends in {_LIST_SUFFIX}"
        )
    yield _Plugin(path, document)


def _listed(path: str, document: Object, name: str) -> Iterator[_Plugin]:
    """Yield the plugins of a list: those within it, then those in its network's folder, unless the
    list disables the folder."""
    only_inlined = _switch(path, document, "loadOnlyInlinedPlugins")
    inlined = document.get("plugins")
    if "plugins" in document and not (isinstance(inlined, list) and inlined):
        raise _Unusable(f'{path} has no list "plugins" with plugins in it')
    yield from (_Plugin(path, plugin) for plugin in inlined or ())
    if only_inlined:
        if not inlined:
            raise _Unusable(f'{path} has no list "plugins", and allows no others')
        return
    folder = os.path.join(os.path.dirname(path), name)
    files = _plugin_files(folder)
    if not inlined and not files:
        raise _Unusable(f'{path} has no list "plugins", and {folder} has no *{_PLUGIN_SUFFIX}')
    for file in files:
        try:
            yield _Plugin(file, _document(file, _read(file)))
        except FileNotFoundError:
            continue  # it was removed just now


def _switch(path: str, document: Object, name: str) -> bool:
    """Return the Boolean value of a member, which may be in quotes; False if there is none."""
    value = document.get(name, False)
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower())
    if not isinstance(value, bool):
        raise _Unusable(f'{path} has a "{name}" that is neither true nor false')
    return value


def _plugin_files(folder: str) -> list[str]:
    """Return the paths of the configurations in a network's folder, in the order of their names."""
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _Unusable(
            f"cannot read {folder}: {(error.strerror or str(error)).lower()}"
        ) from error
    paths = [os.path.join(folder, name) for name in names if name.endswith(_PLUGIN_SUFFIX)]
    return [path for path in paths if os.path.isfile(path)]


def _needs(plugins: Iterable[_Plugin]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for plugin in plugins for name in plugin.needs()))


def _delegated(
    plugins: Iterable[_Plugin], versions: tuple[str, ...], level: int = 0
) -> Iterator[Need]:
    """Yield the needs of plugins that run other plugins themselves.

    These are multus ("delegates": a list of configurations, each of one plugin or of a list of
    them) and flannel ("delegate": one plugin). Values of another shape under these names mean
    something else to a plugin and are ignored. A delegate that names no version of CNI is run with
    the versions of the configuration that contains it.
    """
    for plugin in plugins:
        several = go_json.field(plugin.document, "delegates")
        one = go_json.field(plugin.document, "delegate")
        for delegate in [*(several if isinstance(several, list) else ()), one]:
            if not isinstance(delegate, dict):
                continue
            if level == _DELEGATES_MAXIMUM:
                raise _Unusable(f"{plugin.path} has delegates nested too deep")
            field = partial(go_json.field, delegate)
            listed = [delegate] if field("type") is not None else field("plugins")
            documents = listed if isinstance(listed, list) else []
            inner = [_Plugin(plugin.path, each) for each in documents]
            own = _versions(plugin.path, field("cniVersions"), field("cniVersion"), versions)
            yield from (Need(name, own) for name in _needs(inner))
            yield from _delegated(inner, own, level + 1)
