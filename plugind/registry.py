"""Finds the plugin types and stores that installed packages bring, and checks them.

Packages name a module in the entry point group ``plugind``; its hooks (``plugind.plugin_type``)
bring the rest. Each is loaded in its own try, so that a broken package is told of and takes nobody
with it (pluggy's own loader stops at the first).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple, TypeVar

import click
import pluggy

from plugind.errors import RegistryError
from plugind.flaws import flaw_of, flaw_of_store, told
from plugind.plugin_type import ENTRY_POINT_GROUP, Hooks, PluginType
from plugind.store.base import Store
from plugind.tracing import trace_hooks

T = TypeVar("T")

ACTIVE, DISABLED, BROKEN = "active", "disabled", "broken"


class Origin(NamedTuple):
    """The distribution that brings something, by its name and version."""

    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True, slots=True)
class Standing:
    """A plugin type, store or entry point by its name: whether it is used, and why not.

    It is DISABLED where configuration says so, and BROKEN where it cannot be used.
    """

    name: str
    origin: Origin
    status: str = ACTIVE
    reason: str = ""
    title: str = ""

    def __str__(self) -> str:
        broken = f"{self.origin} cannot be used: {self.reason}"
        return broken if self.status == BROKEN else self.reason


@dataclass(frozen=True)
class Registry:
    """What there is to use, and what there is besides.

    ``types`` and ``stores`` by name; ``installed`` has the types that are not used as well.
    ``origins`` says which distribution brought each of them; ``unused`` is what is not used;
    ``receivers`` are the implementations of ``plugind_changed``, by the package's name.
    """

    types: Mapping[str, PluginType] = field(default_factory=dict)
    installed: Mapping[str, PluginType] = field(default_factory=dict)
    stores: Mapping[str, type[Store]] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    unused: tuple[Standing, ...] = ()
    receivers: Mapping[str, Callable[..., object]] = field(default_factory=dict)

    @property
    def problems(self) -> Mapping[str, str]:
        """Why what cannot be used cannot, or is not to be, by name."""
        reasons: dict[str, list[str]] = {}
        for one in self.unused:
            reasons.setdefault(one.name, []).append(str(one))
        return {name: "; ".join(texts) for name, texts in reasons.items()}

    def standings(self) -> list[Standing]:
        """Every plugin type that is installed, and whatever else cannot be used, by name."""
        active = [
            Standing(name, self.origins[name], title=type_.title)
            for name, type_ in self.types.items()
        ]
        return sorted([*active, *self.unused], key=lambda one: (one.name, one.origin))

    def choose(self, enabled: Collection[str] | None, disabled: Collection[str]) -> Registry:
        """Of the types only those enabled (None: all) and not disabled."""
        reason = "it is disabled by plugin_types in the configuration"
        off = [
            name
            for name in self.types
            if name in disabled or (enabled is not None and name not in enabled)
        ]
        return self._without(dict.fromkeys(off, reason), DISABLED)

    def without(self, problems: Mapping[str, str]) -> Registry:
        """The same without some types, which cannot be used, and with the reasons why."""
        return self._without(problems, BROKEN)

    def _without(self, reasons: Mapping[str, str], status: str) -> Registry:
        types = {name: type_ for name, type_ in self.types.items() if name not in reasons}
        unused = tuple(
            Standing(name, self.origins[name], status, reason, self.types[name].title)
            for name, reason in reasons.items()
        )
        return replace(self, types=types, unused=self.unused + unused)


class Packages:
    """The packages of the entry point group, loaded: what they bring is asked of them by hook."""

    def __init__(self) -> None:
        self.unused: list[Standing] = []
        self._manager = pluggy.PluginManager("plugind")
        self._manager.add_hookspecs(Hooks)
        trace_hooks(self._manager)
        self._origins: dict[str, Origin] = {}
        for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name):
            self._load(entry_point)

    def _load(self, entry_point: EntryPoint) -> None:
        """Registers one package under a name of its own, or notes why that cannot be done."""
        origin = _origin(entry_point)
        name = f"{entry_point.name} of {origin}"
        try:
            self._manager.register(entry_point.load(), name)
            self._manager.check_pending()
        except (Exception, SystemExit) as error:
            self._manager.unregister(name=name)
            self._note(entry_point.name, origin, told(error))
        else:
            self._origins[name] = origin

    def _note(self, name: str, origin: Origin, reason: str) -> None:
        self.unused.append(Standing(name, origin, BROKEN, reason))

    def add_commands(self, group: click.Group) -> None:
        """Lets every package add its own commands to the command line."""
        self._ask("plugind_commands", group=group)

    def registry(self) -> Registry:
        """Asks every package for its types and stores and keeps those that are sound."""
        types: dict[str, list[tuple[Origin, PluginType]]] = {}
        stores: dict[str, list[tuple[Origin, type[Store]]]] = {}

        def take_types(origin: Origin, brought: Iterable[PluginType]) -> None:
            for type_ in brought:
                name = str(getattr(type_, "name", type_))
                self._keep(types, name, origin, type_, flaw_of(type_))

        def take_stores(origin: Origin, brought: Mapping[str, type[Store]]) -> None:
            for name, store in brought.items():
                self._keep(stores, name, origin, store, flaw_of_store(name, store))

        self._ask("plugind_plugin_types", take_types)
        self._ask("plugind_stores", take_stores)
        sound = self._undisputed("plugin type", types)
        all_types = {name: type_ for name, (_, type_) in sound.items()}
        return Registry(
            all_types,
            all_types,
            {name: store for name, (_, store) in self._undisputed("store", stores).items()},
            {name: found[0][0] for name, found in (types | stores).items()},
            tuple(self.unused),
            self._receivers(),
        )

    def _receivers(self) -> dict[str, Callable[..., object]]:
        """What each package that implements ``plugind_changed`` is called by."""
        everyone = self._manager.get_plugins()
        found: dict[str, Callable[..., object]] = {}
        for each in self._manager.hook.plugind_changed.get_hookimpls():
            others = [other for other in everyone if other is not each.plugin]
            found[each.plugin_name] = self._manager.subset_hook_caller("plugind_changed", others)
        return found

    def _undisputed(self, kind: str, claims: Mapping[str, list[Any]]) -> dict[str, Any]:
        """What only one package claims: of two with one name neither is used, for who could say
        which of them was meant?"""
        for name, found in claims.items():
            for origin, _ in found if len(found) > 1 else ():
                others = " and ".join(str(other) for other, _ in found if other != origin)
                reason = f"{others or origin} brings a {kind} {name!r} too; uninstall one of them"
                self._note(name, origin, reason)
        return {name: found[0] for name, found in claims.items() if len(found) == 1}

    def _keep(
        self,
        sound: dict[str, list[tuple[Origin, T]]],
        name: str,
        origin: Origin,
        brought: T,
        flaw: str,
    ) -> None:
        if flaw:
            self._note(name, origin, flaw)
        else:
            sound.setdefault(name, []).append((origin, brought))

    def _ask(
        self,
        hook: str,
        take: Callable[[Origin, Any], None] = lambda origin, answer: None,
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
            except (Exception, SystemExit) as error:
                entry_point, origin = name.partition(" ")[0], self._origins[name]
                self._note(entry_point, origin, f"{hook}: {told(error)}")


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


def _origin(entry_point: EntryPoint) -> Origin:
    dist = entry_point.dist
    return Origin(dist.name or entry_point.value, dist.version) if dist else Origin("", "")
