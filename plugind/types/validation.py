"""Validation of the hooks, plugin types and stores of a package.

Each function returns why the object cannot be used; "" when it can.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from marshmallow import Schema

from plugind import __version__
from plugind.plugin_type import API_VERSION, Hooks, PluginType
from plugind.schemas.plugins import PluginSchemas
from plugind.store.base import Store
from plugind.wire.fields import Record

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_PLURAL = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")


def problem_of_hooks(module: object, marked: Collection[str]) -> str:
    """Return the problem with the hooks of a package's module; "" when there is none.

    ``marked`` are the names of the hooks that it implements. A function without ``@hookimpl`` is
    never called, and pluggy does not report it.
    """
    hooks = [name for name in vars(Hooks) if not name.startswith("__")]
    unmarked = [
        name for name in hooks if name not in marked and callable(getattr(module, name, None))
    ]
    if not marked:
        return "its module has no function marked @hookimpl" + (
            f": put it above {unmarked[0]}" if unmarked else ""
        )
    return f"its function {unmarked[0]} is not marked @hookimpl" if unmarked else ""


def problem_of(type_: PluginType) -> str:
    """Return why a plugin type cannot be used; "" when it can."""
    if not isinstance(type_, PluginType):
        return f"plugind_plugin_types returned {type_!r}, which is not a PluginType"
    if problem := _version_problem(type_):
        return problem
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
        return f"default_role {type_.default_role!r} is not one of its roles"
    names, prefix = type_.capabilities, f"{type_.name}-"
    if not isinstance(names, tuple) or not all(
        isinstance(name, str) and name.startswith(prefix) for name in names
    ):
        return f"capabilities must be a tuple of names that begin with '{prefix}'"
    return _schema_problem(type_)


def _version_problem(type_: PluginType) -> str:
    """Return the problem with the version of the contract that a type was made for."""
    name, made_for = type(type_).__name__, getattr(type_, "plugind_api", None)
    if made_for is None:
        return (
            f"{name} does not say which version of plugind's contract it was made for, "
            f"as in: plugind_api = {API_VERSION}"
        )
    if type(made_for) is not int:
        what = "the text " if isinstance(made_for, str) else ""
        return f"{name}: plugind_api is {what}{made_for!r:.40}; it must be the number {API_VERSION}"
    if made_for == API_VERSION:
        return ""
    older, newer = "upgrade the package", "upgrade plugind"
    return (
        f"{name} was made for version {made_for} of the contract for plugin types, "
        f"plugind {__version__} has version {API_VERSION}: "
        f"{older if made_for < API_VERSION else newer}"
    )


def _schema_problem(type_: PluginType) -> str:
    for role in type_.roles:
        schema = type_.fingerprint_schemas.get(role)
        if not (isinstance(schema, type) and issubclass(schema, Schema)):
            return f"fingerprint_schemas has no schema for the role {role!r}"
    schemas: PluginSchemas | None = None
    for role in type_.roles:
        try:
            schemas = schemas or PluginSchemas.of(type_)
            schemas.nothing_known(role)
        except Exception as error:
            why = one_line(error)
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


def problem_of_store(name: object, store: object) -> str:
    """Return why a store cannot be used; "" when it can."""
    if not is_name(name):
        return f"{name!r} is no name for a store: 1 to 32 lower-case letters, digits, - or _"
    if not (isinstance(store, type) and issubclass(store, Store)):
        return f"plugind_stores returned {store!r}, which is not a subclass of Store"
    schema = getattr(store, "settings_schema", None)
    if not (isinstance(schema, type) and issubclass(schema, Record)):
        return f"{store.__name__} lacks settings_schema, a subclass of plugind.fields.Record"
    return ""


def one_line(error: BaseException) -> str:
    """Return a third-party exception as one line of text."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
