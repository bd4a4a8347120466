"""Finds the plugin types and stores that installed packages bring, and checks them.

Packages name a module in the entry point group ``plugind``; its hooks (``plugind.plugin_type``)
bring the rest. Each is loaded in its own try, so that a broken package is told of and takes nobody
with it (pluggy's own loader stops at the first).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import click
import pluggy
from marshmallow import Schema

from plugind.errors import RegistryError
from plugind.fields import Record
from plugind.plugin_schemas import PluginSchemas
from plugind.plugin_type import ENTRY_POINT_GROUP, Hooks, PluginType
from plugind.store.base import Store

T = TypeVar("T")

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_PLURAL = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")


@dataclass(frozen=True)
class Registry:
    """What there is to use.

    ``types`` and ``stores`` by name; ``installed`` has the types that are not used as well.
    ``origins`` says which distribution brought each of them ("NAME" -> "plugind 0.1.0");
    ``problems`` says, by the name of a type, store or entry point, why it cannot be used.
    """

    types: Mapping[str, PluginType] = field(default_factory=dict)
    installed: Mapping[str, PluginType] = field(default_factory=dict)
    stores: Mapping[str, type[Store]] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)

    def choose(self, enabled: Collection[str] | None, disabled: Collection[str]) -> Registry:
        """Of the types only those enabled (None: all) and not disabled."""
        return self.without(
            {
                name: "it is disabled by plugin_types in the configuration"
                for name in self.types
                if name in disabled or (enabled is not None and name not in enabled)
            }
        )

    def without(self, problems: Mapping[str, str]) -> Registry:
        """The same without some types, and with the reasons why."""
        types = {name: type_ for name, type_ in self.types.items() if name not in problems}
        return replace(self, types=types, problems={**self.problems, **problems})


class Packages:
    """The packages of the entry point group, loaded: what they bring is asked of them by hook."""

    def __init__(self) -> None:
        self.problems: dict[str, str] = {}
        self._manager = pluggy.PluginManager("plugind")
        self._manager.add_hookspecs(Hooks)
        self._origins: dict[str, str] = {}
        for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name):
            self._load(entry_point)

    def _load(self, entry_point: EntryPoint) -> None:
        """Registers one package under a name of its own, or notes why that cannot be done."""
        origin = _origin(entry_point)
        name = f"{entry_point.name} of {origin}"
        try:
            self._manager.register(entry_point.load(), name)
            self._manager.check_pending()
        except Exception as error:
            self._manager.unregister(name=name)
            self._note(entry_point.name, f"{origin} is broken: {_told(error)}")
        else:
            self._origins[name] = origin

    def _note(self, name: str, problem: str) -> None:
        known = self.problems.get(name)
        self.problems[name] = f"{known}; {problem}" if known else problem

    def add_commands(self, group: click.Group) -> None:
        """Lets every package add its own commands to the command line."""
        self._ask("plugind_commands", group=group)

    def registry(self) -> Registry:
        """Asks every package for its types and stores and keeps those that are sound."""
        types: dict[str, list[tuple[str, PluginType]]] = {}
        stores: dict[str, list[tuple[str, type[Store]]]] = {}

        def take_types(origin: str, brought: Iterable[PluginType]) -> None:
            for type_ in brought:
                name = str(getattr(type_, "name", type_))
                self._keep(types, name, origin, type_, _flaw(type_))

        def take_stores(origin: str, brought: Mapping[str, type[Store]]) -> None:
            for name, store in brought.items():
                self._keep(stores, name, origin, store, _store_flaw(name, store))

        self._ask("plugind_plugin_types", take_types)
        self._ask("plugind_stores", take_stores)
        sound = self._undisputed("plugin type", types)
        all_types = {name: type_ for name, (_, type_) in sound.items()}
        return Registry(
            all_types,
            all_types,
            {name: store for name, (_, store) in self._undisputed("store", stores).items()},
            {name: found[0][0] for name, found in (types | stores).items()},
            dict(self.problems),
        )

    def _undisputed(self, kind: str, claims: Mapping[str, list[Any]]) -> dict[str, Any]:
        """What only one package claims: of two with one name neither is used, for who could say
        which of them was meant?"""
        for name, found in claims.items():
            if len(found) > 1:
                self._note(
                    name,
                    f"{' and '.join(origin for origin, _ in found)} both bring a {kind} {name!r}; "
                    "uninstall one of them",
                )
        return {name: found[0] for name, found in claims.items() if len(found) == 1}

    def _keep(
        self, sound: dict[str, list[tuple[str, T]]], name: str, origin: str, brought: T, flaw: str
    ) -> None:
        if flaw:
            self._note(name, f"{origin} is broken: {flaw}")
        else:
            sound.setdefault(name, []).append((origin, brought))

    def _ask(
        self,
        hook: str,
        take: Callable[[str, Any], None] = lambda origin, answer: None,
        **arguments: Any,
    ) -> None:
        """Calls one hook of each package by itself and ``take(origin, answer)`` for what it
        answers; one that raises, or whose answer cannot be taken, is noted and passed over."""
        everyone = self._manager.get_plugins()
        for plugin in sorted(everyone, key=lambda plugin: str(self._manager.get_name(plugin))):
            name = str(self._manager.get_name(plugin))
            others = [other for other in everyone if other is not plugin]
            try:
                for answer in self._manager.subset_hook_caller(hook, others)(**arguments):
                    take(self._origins[name], answer)
            except Exception as error:
                self._note(
                    name.partition(" ")[0],
                    f"{self._origins[name]} is broken: {hook}: {_told(error)}",
                )


def load_registry() -> Registry:
    """All plugin types and stores of the installed packages."""
    return Packages().registry()


def plugin_type(name: str) -> PluginType:
    """The plugin type of that name. Raises RegistryError, saying why, when there is none."""
    registry = load_registry()
    if name not in registry.types:
        reason = registry.problems.get(name, f"installed are: {', '.join(sorted(registry.types))}")
        raise RegistryError(f"no plugin type {name!r}: {reason}")
    return registry.types[name]


def _origin(entry_point: EntryPoint) -> str:
    dist = entry_point.dist
    return f"{dist.name} {dist.version}" if dist else entry_point.value


def _begins(name: object, prefix: str) -> bool:
    return isinstance(name, str) and name.startswith(prefix)


def _told(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _flaw(type_: PluginType) -> str:
    """What keeps a plugin type from being used; "" when nothing does."""
    if not isinstance(type_, PluginType):
        return f"plugind_plugin_types returned {type_!r}, which is no PluginType"
    missing = [
        name
        for name in ("name", "roles", "default_role", "fingerprint_schemas")
        if not hasattr(type_, name)
    ]
    if missing:
        return f"{type(type_).__name__} lacks {', '.join(missing)}"
    if not _is_name(type_.name):
        return f"{type_.name!r} is no name for a type: 1 to 32 lower-case letters, digits, - or _"
    if not _are_roles(type_.roles):
        return "roles must map each role to its plural on the wire, such as {'node': 'Nodes'}"
    if type_.default_role not in type_.roles:
        return f"default_role {type_.default_role!r} is none of its roles"
    names = type_.capabilities
    if not isinstance(names, tuple) or not all(_begins(name, f"{type_.name}-") for name in names):
        return f"capabilities must be a tuple of names that begin with '{type_.name}-'"
    return _schema_flaw(type_)


def _schema_flaw(type_: PluginType) -> str:
    for role in type_.roles:
        schema = type_.fingerprint_schemas.get(role)
        if not (isinstance(schema, type) and issubclass(schema, Schema)):
            return f"fingerprint_schemas has no schema for the role {role!r}"
    for role in type_.roles:
        try:
            PluginSchemas.of(type_).nothing_known(role)
        except Exception as error:
            told = _told(error)
            return f"the schema for the role {role!r} fails where only Healthy is given: {told}"
    return ""


def _is_name(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _are_roles(roles: object) -> bool:
    return (
        isinstance(roles, Mapping)
        and bool(roles)
        and all(isinstance(each, str) for pair in roles.items() for each in pair)
        and all(_PLURAL.fullmatch(plural) for plural in roles.values())
    )


def _store_flaw(name: object, store: object) -> str:
    """The same of a store."""
    if not _is_name(name):
        return f"{name!r} is no name for a store: 1 to 32 lower-case letters, digits, - or _"
    if not (isinstance(store, type) and issubclass(store, Store)):
        return f"plugind_stores returned {store!r}, which is no subclass of Store"
    schema = getattr(store, "settings_schema", None)
    if not (isinstance(schema, type) and issubclass(schema, Record)):
        return f"{store.__name__} lacks settings_schema, a subclass of plugind.fields.Record"
    return ""
