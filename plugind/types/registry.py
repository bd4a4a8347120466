"""Finds the plugin types and stores of installed packages, and validates them.

Packages name a module in the entry point group ``plugind``; its hooks (``plugind.plugin_type``)
return the types and stores. Each package is loaded in its own try block, so a broken package is
reported and does not affect others (pluggy's own loader stops at the first).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple, TypeVar

import click
import pluggy

from plugind.errors import RegistryError
from plugind.plugin_type import ENTRY_POINT_GROUP, Hooks, PluginType
from plugind.store.base import Store
from plugind.types.stray_output import stdout_to_stderr
from plugind.types.tracing import trace_hooks
from plugind.types.validation import one_line, problem_of, problem_of_hooks, problem_of_store

T = TypeVar("T")

ACTIVE, DISABLED, BROKEN = "active", "disabled", "broken"

_OWN_DISTRIBUTION = "plugind"


class Origin(NamedTuple):
    """The distribution that provides a type, store or hook, by its name and version."""

    distribution: str
    version: str

    @property
    def is_built_in(self) -> bool:
        """Return whether the distribution is plugind itself."""
        return self.distribution == _OWN_DISTRIBUTION

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True, slots=True)
class Standing:
    """A plugin type, store or entry point by its name: whether it is used, and if not, why.

    It is DISABLED by the configuration, or BROKEN if it cannot be used.
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
    """The plugin types and stores that can be used, and the others.

    ``types`` and ``stores`` are by name; ``installed`` also has the types that are not used.
    ``origins`` names the distribution of each type and store; ``unused`` has those that are not
    used; ``receivers`` are the implementations of ``plugind_changed``, by the package's name.
    """

    types: Mapping[str, PluginType] = field(default_factory=dict)
    installed: Mapping[str, PluginType] = field(default_factory=dict)
    stores: Mapping[str, type[Store]] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    unused: tuple[Standing, ...] = ()
    receivers: Mapping[str, Callable[..., object]] = field(default_factory=dict)

    @property
    def problems(self) -> Mapping[str, str]:
        """Return, by name, the reason why a type or store is not available.

        Entries of ``unused`` under the name of an active type or store are left out.
        """
        reasons: dict[str, list[str]] = {}
        for one in self.unused:
            if one.name in self.types or one.name in self.stores:
                continue
            reasons.setdefault(one.name, []).append(str(one))
        return {name: "; ".join(texts) for name, texts in reasons.items()}

    @property
    def broken(self) -> list[str]:
        """Return one line for each package, type or store that cannot be used, with the reason."""
        return [f"{one.name}: {one}" for one in self.unused if one.status == BROKEN]

    def standings(self) -> list[Standing]:
        """Return every installed plugin type, and everything else that cannot be used, sorted by
        name."""
        active = [
            Standing(name, self.origins[name], title=type_.title)
            for name, type_ in self.types.items()
        ]
        return sorted([*active, *self.unused], key=lambda one: (one.name, one.origin))

    def choose(self, enabled: Collection[str] | None, disabled: Collection[str]) -> Registry:
        """Return the registry with only those types that are enabled (None: all) and not
        disabled."""
        reason = "it is disabled by plugin_types in the configuration"
        off = [
            name
            for name in self.types
            if name in disabled or (enabled is not None and name not in enabled)
        ]
        return self._without(dict.fromkeys(off, reason), DISABLED)

    def without(self, problems: Mapping[str, str]) -> Registry:
        """Return the registry without the types that cannot be used; ``problems`` has the reasons
        by name."""
        return self._without(problems, BROKEN)

    def _without(self, reasons: Mapping[str, str], status: str) -> Registry:
        types = {name: type_ for name, type_ in self.types.items() if name not in reasons}
        unused = tuple(
            Standing(name, self.origins[name], status, reason, self.types[name].title)
            for name, reason in reasons.items()
        )
        return replace(self, types=types, unused=self.unused + unused)


class Packages:
    """The loaded packages of the entry point group; their hooks return what they provide."""

    def __init__(self) -> None:
        self.unused: list[Standing] = []
        self._manager = pluggy.PluginManager("plugind")
        self._manager.add_hookspecs(Hooks)
        trace_hooks(self._manager)
        self._origins: dict[str, Origin] = {}
        for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name):
            self._load(entry_point)

    def _load(self, entry_point: EntryPoint) -> None:
        """Register one package under a unique name, or note why it cannot be registered."""
        dist = entry_point.dist
        known = (dist.name or entry_point.value, dist.version) if dist else ("", "")
        origin = Origin(*known)
        name = f"{entry_point.name} of {origin}"
        try:
            with stdout_to_stderr():
                module = entry_point.load()
                self._manager.register(module, name)
            self._manager.check_pending()
        except (Exception, SystemExit) as error:
            self._manager.unregister(name=name)
            self._note(entry_point.name, origin, one_line(error))
            return
        self._origins[name] = origin
        if problem := problem_of_hooks(module, self._hooks_of(module)):
            self._note(entry_point.name, origin, problem)

    def _hooks_of(self, module: object) -> list[str]:
        return [caller.name for caller in self._manager.get_hookcallers(module) or ()]

    def _note(self, name: str, origin: Origin, reason: str) -> None:
        self.unused.append(Standing(name, origin, BROKEN, reason))

    def add_commands(self, group: click.Group) -> None:
        """Let every package add its own commands to the command line."""
        self._ask("plugind_commands", group=group)

    def registry(self) -> Registry:
        """Return the registry of the valid types and stores of every package."""
        types: dict[str, list[tuple[Origin, PluginType]]] = {}
        stores: dict[str, list[tuple[Origin, type[Store]]]] = {}

        def take_types(origin: Origin, brought: Iterable[PluginType]) -> None:
            for type_ in brought:
                name = str(getattr(type_, "name", type_))
                self._keep(types, name, origin, type_, problem_of(type_))

        def take_stores(origin: Origin, brought: Mapping[str, type[Store]]) -> None:
            for name, store in brought.items():
                self._keep(stores, name, origin, store, problem_of_store(name, store))

        self._ask("plugind_plugin_types", take_types)
        self._ask("plugind_stores", take_stores)
        sound_types = self._undisputed("plugin type", types)
        sound_stores = self._undisputed("store", stores)
        first = {name: found[0] for name, found in (types | stores).items()}
        chosen = {**first, **sound_types, **sound_stores}
        all_types = {name: type_ for name, (_, type_) in sound_types.items()}
        return Registry(
            all_types,
            all_types,
            {name: store for name, (_, store) in sound_stores.items()},
            {name: origin for name, (origin, _) in chosen.items()},
            tuple(self.unused),
            self._receivers(),
        )

    def _receivers(self) -> dict[str, Callable[..., object]]:
        """Return the caller of ``plugind_changed`` for each package that implements it."""
        everyone = self._manager.get_plugins()
        found: dict[str, Callable[..., object]] = {}
        for each in self._manager.hook.plugind_changed.get_hookimpls():
            others = [other for other in everyone if other is not each.plugin]
            found[each.plugin_name] = self._manager.subset_hook_caller("plugind_changed", others)
        return found

    def _undisputed(
        self, kind: str, claims: Mapping[str, list[tuple[Origin, T]]]
    ) -> dict[str, tuple[Origin, T]]:
        """Choose the owner of each name, and note the others.

        plugind's own type or store always keeps its name: installing a package must not take a
        built-in one out of service. If two other packages claim the same name, neither gets it,
        since it is unknown which of them was meant.
        """
        chosen: dict[str, tuple[Origin, T]] = {}
        for name, found in claims.items():
            own = [claim for claim in found if claim[0].is_built_in]
            if len(found) == 1 or own:
                chosen[name] = (own or found)[0]
            for origin, _ in (claim for claim in found if claim is not chosen.get(name)):
                if own:
                    reason = f"the {kind} {name!r} is built into plugind; give it another name"
                else:
                    others = " and ".join(str(other) for other, _ in found if other != origin)
                    reason = f"{others or origin} brings a {kind} {name!r} too; uninstall one"
                    reason += " of them"
                self._note(name, origin, reason)
        return chosen

    def _keep(
        self,
        sound: dict[str, list[tuple[Origin, T]]],
        name: str,
        origin: Origin,
        brought: T,
        problem: str,
    ) -> None:
        if problem:
            self._note(name, origin, problem)
        else:
            sound.setdefault(name, []).append((origin, brought))

    def _ask(
        self,
        hook: str,
        take: Callable[[Origin, Any], None] | None = None,
        **arguments: Any,
    ) -> None:
        """Call one hook of each package separately, and ``take(origin, answer)`` with its answer.

        A package is noted and skipped if its hook raises, or if it returns None or something else
        that ``take`` cannot use.
        """
        everyone = self._manager.get_plugins()
        for plugin in sorted(everyone, key=lambda plugin: str(self._manager.get_name(plugin))):
            name = str(self._manager.get_name(plugin))
            others = [other for other in everyone if other is not plugin]
            entry_point, origin = name.partition(" ")[0], self._origins[name]
            try:
                with stdout_to_stderr():
                    answers = self._manager.subset_hook_caller(hook, others)(**arguments)
                    if take is None:
                        continue
                    if not answers and hook in self._hooks_of(plugin):
                        self._note(entry_point, origin, f"{hook} returned None")
                    for answer in answers:
                        take(origin, answer)
            except (Exception, SystemExit) as error:
                self._note(entry_point, origin, f"{hook}: {one_line(error)}")


def load_registry() -> Registry:
    """Return the registry of all plugin types and stores of the installed packages."""
    return Packages().registry()


def plugin_type(name: str) -> PluginType:
    """Return the plugin type of that name. Raise RegistryError, with the reason, when there is
    none."""
    registry = load_registry()
    if name not in registry.types:
        reason = registry.problems.get(name, f"installed are: {', '.join(sorted(registry.types))}")
        raise RegistryError(f"no plugin type {name!r}: {reason}")
    return registry.types[name]
