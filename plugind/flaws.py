"""What keeps a plugin type or store that a package brings from being used."""

from __future__ import annotations

import re
from collections.abc import Mapping

from marshmallow import Schema

from plugind import __version__
from plugind.fields import Record
from plugind.plugin_schemas import PluginSchemas
from plugind.plugin_type import API_VERSION, PluginType
from plugind.store.base import Store

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_PLURAL = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")


def flaw_of(type_: PluginType) -> str:
    """What keeps a plugin type from being used; "" when nothing does."""
    if not isinstance(type_, PluginType):
        return f"plugind_plugin_types returned {type_!r}, which is no PluginType"
    if flaw := _version_flaw(type_):
        return flaw
    missing = [
        name
        for name in ("name", "roles", "default_role", "fingerprint_schemas")
        if not hasattr(type_, name)
    ]
    if missing:
        return f"{type(type_).__name__} lacks {', '.join(missing)}"
    if not is_name(type_.name):
        return f"{type_.name!r} is no name for a type: 1 to 32 lower-case letters, digits, - or _"
    if not _are_roles(type_.roles):
        return "roles must map each role to its plural on the wire, such as {'node': 'Nodes'}"
    if type_.default_role not in type_.roles:
        return f"default_role {type_.default_role!r} is none of its roles"
    names = type_.capabilities
    if not isinstance(names, tuple) or not all(_begins(name, f"{type_.name}-") for name in names):
        return f"capabilities must be a tuple of names that begin with '{type_.name}-'"
    return _schema_flaw(type_)


def _version_flaw(type_: PluginType) -> str:
    """What is wrong with the version of the contract that a type says it was made for."""
    name, made_for = type(type_).__name__, getattr(type_, "plugind_api", None)
    if type(made_for) is not int:
        return (
            f"{name} does not say which version of plugind's contract it was made for, "
            f"as in: plugind_api = {API_VERSION}"
        )
    if made_for == API_VERSION:
        return ""
    older, newer = "upgrade the package", "upgrade plugind"
    return (
        f"{name} was made for version {made_for} of the contract for plugin types, "
        f"plugind {__version__} has version {API_VERSION}: "
        f"{older if made_for < API_VERSION else newer}"
    )


def _schema_flaw(type_: PluginType) -> str:
    for role in type_.roles:
        schema = type_.fingerprint_schemas.get(role)
        if not (isinstance(schema, type) and issubclass(schema, Schema)):
            return f"fingerprint_schemas has no schema for the role {role!r}"
    for role in type_.roles:
        try:
            PluginSchemas.of(type_).nothing_known(role)
        except Exception as error:
            why = told(error)
            return f"the schema for the role {role!r} fails where only Healthy is given: {why}"
    return ""


def is_name(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _are_roles(roles: object) -> bool:
    return (
        isinstance(roles, Mapping)
        and bool(roles)
        and all(isinstance(each, str) for pair in roles.items() for each in pair)
        and all(_PLURAL.fullmatch(plural) for plural in roles.values())
    )


def flaw_of_store(name: object, store: object) -> str:
    """The same of a store."""
    if not is_name(name):
        return f"{name!r} is no name for a store: 1 to 32 lower-case letters, digits, - or _"
    if not (isinstance(store, type) and issubclass(store, Store)):
        return f"plugind_stores returned {store!r}, which is no subclass of Store"
    schema = getattr(store, "settings_schema", None)
    if not (isinstance(schema, type) and issubclass(schema, Record)):
        return f"{store.__name__} lacks settings_schema, a subclass of plugind.fields.Record"
    return ""


def _begins(name: object, prefix: str) -> bool:
    return isinstance(name, str) and name.startswith(prefix)


def told(error: BaseException) -> str:
    """An exception of a stranger's, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
