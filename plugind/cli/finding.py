"""Lookups of the plugin types, plugins and nodes that a command's arguments name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from plugind.cli.connection import PluginTypeInfo
from plugind.client import Client
from plugind.errors import ClientError, Refused
from plugind.hints import did_you_mean, suggestion

Stubs = Sequence[Mapping[str, Any]]


def chosen_types(types: list[PluginTypeInfo], name: str | None) -> list[PluginTypeInfo]:
    """Return the type of that name, or all types for None.

    Raise ClientError for an unknown name.
    """
    found = [type_ for type_ in types if name in (None, type_.name)]
    if name is not None and not found:
        there = suggestion(name, [type_.name for type_ in types])
        raise ClientError(f"no plugin type {name!r} on the server; {there}")
    return found


def find_plugin(
    client: Client,
    types: list[PluginTypeInfo],
    name: str,
    only: str | None = None,
    *,
    suggest: bool = True,
) -> tuple[PluginTypeInfo, str]:
    """Return the type and ID of the plugin ``[TYPE/]ID``, only of the type ``only`` if given.

    Raise ClientError when none or several match, and when ``name`` and ``only`` contradict each
    other. With ``suggest``, the lists of plugins are read, so that the error can name similar
    plugins.
    """
    prefix, slash, plugin_id = name.rpartition("/")
    if slash and only is not None and only != prefix:
        raise ClientError(f"{name!r} is of type {prefix!r}, but --type says {only!r}: use only one")
    among = chosen_types(types, prefix if slash else only)
    found = [
        (type_, id_)
        for type_ in among
        if (id_ := _existing_id(client, type_.name, plugin_id)) is not None
    ]
    if not found:
        known = _known_ids(client, among) if suggest else ()
        hint = did_you_mean(plugin_id, known) or "; 'plugind plugin status' lists all plugins"
        raise ClientError(f"no plugin {name!r}{hint}")
    if len(found) > 1:
        several = " or ".join(f"{type_.name}/{id_}" for type_, id_ in found)
        raise ClientError(f"which one is meant: {several}?")
    return found[0]


def find_node(stubs: Stubs, wanted: str, shortest: int = 1) -> str:
    """Return the ID of the node with that name, or whose ID begins with it.

    The beginning of an ID must have at least ``shortest`` characters. Raise ClientError when none
    or several match.
    """
    is_prefix = len(wanted) >= shortest
    found = [stub["ID"] for stub in stubs if is_prefix and stub["ID"].startswith(wanted)]
    found = found or [stub["ID"] for stub in stubs if stub["Name"] == wanted]
    if not found:
        known = [name for stub in stubs for name in (stub["Name"], stub["ID"])]
        hint = did_you_mean(wanted, known) or "; 'plugind node status' lists all nodes"
        raise ClientError(f"no node {wanted!r}{hint}")
    if len(found) > 1:
        raise ClientError(f"{wanted!r} may be {' or '.join(found)}: give the whole ID of one")
    return str(found[0])


def check_datacenter(stubs: Stubs, wanted: str) -> None:
    """Raise ClientError when no node is in that datacenter."""
    known = {stub["Datacenter"] for stub in stubs}
    if wanted not in known:
        raise ClientError(f"no node in datacenter {wanted!r}; {suggestion(wanted, known)}")


def _existing_id(client: Client, type_: str, plugin_id: str) -> str | None:
    """Return the full ID of a plugin, since the server may complete it; None when it has none."""
    try:
        return str(client.plugin(type_, plugin_id).value["ID"])
    except Refused as error:
        if error.status != 404:
            raise
        return None


def _known_ids(client: Client, types: Iterable[PluginTypeInfo]) -> Iterator[str]:
    """Yield the IDs of all plugins of these types that the token may list."""
    for type_ in types:
        with suppress(Refused):  # The error about the plugin itself is more helpful.
            yield from [row["ID"] for row in client.plugins(type_.name).value]
