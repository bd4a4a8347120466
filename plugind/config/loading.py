"""The loading of a whole configuration, step by step, with all its mistakes reported at once.

The order avoids circular dependencies: first all files are merged into one tree; then the core's
settings are read; they name the plugin types and stores to load; each of those validates its own
block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from marshmallow import Schema, ValidationError

from plugind.config.branches import Branch, grafted, merged
from plugind.config.files import read_all, untrusted
from plugind.config.overrides import Overrides, rows_of
from plugind.config.schemas import CoreSchema, PluginTypesSchema
from plugind.config.settings import PluginTypeChoice, Settings, StoreSettings, Written
from plugind.config.shape import Shaper
from plugind.config.tree import Place, raise_any
from plugind.hints import suggestion
from plugind.model import Declaration, PluginKey
from plugind.plugin_type import PluginType
from plugind.wire.fields import ID_PATTERN, Number, Record

LABELLED = ("store", "plugin_type", "plugin")
"""The blocks that ``CoreSchema`` does not validate."""

EXPECTED_MAXIMUM = 10_000_000


class Plugins(Protocol):
    """The installed plugin types and stores."""

    @property
    def types(self) -> Mapping[str, PluginType]:
        """Return the active types by name."""

    @property
    def stores(self) -> Mapping[str, type[Any]]:
        """Return the stores by name, each with ``settings_schema``, a subclass of
        ``plugind.fields.Record``.
        """

    @property
    def problems(self) -> Mapping[str, str]:
        """Return the reason why a type or store is not available (broken, disabled), by name."""


Loader = Callable[[PluginTypeChoice, frozenset[str]], Plugins]
"""Loads the types that the choice allows; the set has the types that the configuration names."""


def load(
    paths: Sequence[Path],
    *,
    environ: Mapping[str, str],
    flags: Mapping[str, str],
    plugins: Loader,
    dev_folder: Path | None = None,
    folder: Path | None = None,
) -> Settings:
    """Return the settings of files and folders, overridden by variables and then by flags.

    The keys of ``flags`` are those of ``Row.flag``. With ``dev_folder``, everything else overrides
    settings for a single machine, which keep data below that folder. Relative paths in variables
    and flags count from ``folder``, by default the working directory. Raise ConfigError with all
    mistakes, in order.
    """
    branches, mistakes = read_all(paths)
    reading = _Reading(Overrides(environ, flags, folder or Path.cwd()), plugins, dev_folder)
    settings = reading.settings(branches)
    if settings.client.enabled:
        mistakes += untrusted(branches)
    raise_any(mistakes + reading.shaper.mistakes)
    return settings


@dataclass
class _Reading:
    """One loading of a configuration; ``shaper`` collects the mistakes."""

    overrides: Overrides
    loader: Loader
    dev_folder: Path | None
    shaper: Shaper = field(default_factory=Shaper)
    root: Branch = field(default_factory=lambda: Branch(Place("configuration"), open=True))
    written: list[Written] = field(default_factory=list)

    def settings(self, branches: Sequence[Branch]) -> Settings:
        if self.dev_folder is not None:
            enabled = {"enabled": True}
            dev = {"data_dir": self.dev_folder, "server": enabled, "client": enabled}
            self.root = merged(self.root, grafted(dev, Place("--dev")))
        for branch in branches:
            self.root = merged(self.root, branch)
        core, choice = self._core()
        asked = list(self._asked(choice))
        plugins = self.loader(choice, frozenset(name for name, _ in asked))
        for name, place in asked:
            if name not in plugins.types:
                reason = plugins.problems.get(name) or suggestion(name, plugins.types)
                self.shaper.add(place, f'no plugin type "{name}": {reason}')
        store = self._store(branches, plugins)
        types = _Types(self, plugins, frozenset(name for name, _ in asked))
        declarations = tuple(self._declarations(plugins))
        self.shaper.mistakes += self.overrides.unknown(plugins.problems)
        return Settings(
            **core,
            store=store,
            types=types.settings,
            type_blocks=types.blocks,
            type_problems=types.problems,
            declarations=declarations,
            written=tuple(self.written),
        )

    def _core(self) -> tuple[dict[str, Any], PluginTypeChoice]:
        """Return the core's settings, and the choice of types even if other settings are wrong."""
        schema = CoreSchema()
        children = {k: v for k, v in self.root.children.items() if k not in LABELLED}
        branch = self.overrides.over(Branch(self.root.place, children), rows_of(schema))
        self.written.append(Written((), schema, branch))
        values = self.shaper.block(branch, schema, others=LABELLED)
        core = self.shaper.load(schema, values, (), self.root.place) or {}
        client = core.get("client", Settings.client)
        if client.enabled and not client.servers:
            place = self.shaper.place(("client", "servers"), self.root.place)
            self.shaper.add(place, "client.servers is empty: an agent needs a server to report to")
        return core, core.get("plugin_types") or _choice(values.get("plugin_types", {}))

    def _asked(self, choice: PluginTypeChoice) -> Iterator[tuple[str, Place]]:
        """Yield the plugin types that the configuration names, each with its place."""
        for number, name in enumerate(choice.enabled or ()):
            yield name, self.shaper.place(("plugin_types", "enabled", number), self.root.place)
        for block, header in (("plugin_type", '"NAME"'), ("plugin", '"TYPE" "ID"')):
            for name, branch in self.labelled(block, header):
                yield name, branch.place

    def labelled(self, block: str, header: str) -> Iterator[tuple[str, Branch]]:
        """Yield the root's blocks of that type, by their first label."""
        if block in self.root.children:
            child = self.root.children[block]
            yield from self.shaper.labelled(child, (block,), f"{block} {header}")

    def _store(self, branches: Sequence[Branch], plugins: Plugins) -> StoreSettings:
        """Return the store that the last file to name one names, with settings from all files."""
        named = [store for branch in branches for store in self._stores(branch)]
        name, place = named[-1] if named else (Settings.store.name, self.root.place)
        if name not in plugins.stores:
            reason = plugins.problems.get(name) or suggestion(name, plugins.stores)
            self.shaper.add(place, f'no store "{name}": {reason}')
            return StoreSettings(name)
        schema = plugins.stores[name].settings_schema()
        block = self.root.branch("store").branch(name)
        block = self.overrides.over(block, rows_of(schema, ("store",)), depth=1)
        self.written.append(Written(("store", name), schema, block))
        values = self.shaper.body(block, schema, ("store", name), f'store "{name}"')
        return StoreSettings(name, self.shaper.load(schema, values, ("store", name), place))

    def _stores(self, file: Branch) -> list[tuple[str, Place]]:
        """Return the stores that one file names; more than one is a mistake."""
        if "store" not in file.children:
            return []
        blocks = self.shaper.labelled(file.children["store"], ("store",), 'store "NAME"')
        stores = [(name, branch.place) for name, branch in blocks]
        for _, place in stores[1:]:
            name, first = stores[0]
            self.shaper.add(place, f'one store only; line {first.line} has store "{name}" already')
        return stores

    def _declarations(self, plugins: Plugins) -> Iterator[Declaration]:
        for type_name, branch in self.labelled("plugin", '"TYPE" "ID"'):
            if type_name in plugins.types:
                keys = expected_keys(plugins.types[type_name])
                numbers: dict[str, Any] = {
                    name: Number(maximum=EXPECTED_MAXIMUM, metadata={"example": 1})
                    for name in keys.values()
                }
                schema = Record.from_dict(numbers)()
                header = f'plugin "{type_name}"'
                path = ("plugin", type_name)
                for id, body in self.shaper.labelled(branch, path, f'{header} "ID"'):
                    yield self._declaration(PluginKey(type_name, id), body, keys, schema)

    def _declaration(
        self, key: PluginKey, body: Branch, keys: Mapping[str, str], schema: Schema
    ) -> Declaration:
        if not ID_PATTERN.fullmatch(key.id):
            text = f'"{key.id}" is not a plugin ID: use 1 to 128 letters, digits, dots, dashes or _'
            self.shaper.add(body.place, f"{text}, the first a letter or digit")
        path = ("plugin", *key)
        self.written.append(Written(path, schema, body))
        values = self.shaper.body(body, schema, path, f'plugin "{key.type}" "{key.id}"')
        found = self.shaper.load(schema, values, path, body.place) or {}
        return Declaration(key, {role: found[name] for role, name in keys.items() if name in found})


class _Types:
    """The settings that the active plugin types load from their blocks."""

    def __init__(self, reading: _Reading, plugins: Plugins, asked: frozenset[str]) -> None:
        self._reading = reading
        self._asked = asked
        self.settings: dict[str, Any] = {}
        self.blocks: dict[str, Mapping[str, Any]] = {}
        self.problems: dict[str, str] = {}
        self._written = dict(reading.labelled("plugin_type", '"NAME"'))
        for name, type_ in sorted(plugins.types.items()):
            self._load(name, type_)

    def _load(self, name: str, type_: PluginType) -> None:
        """Load the settings of one type.

        A type that the configuration does not name, and whose default settings are not sufficient,
        is left out without a mistake.
        """
        shaper = Shaper()
        try:
            self._shape(name, type_, shaper)
        except Exception as error:  # A type is third-party code, which may raise anything.
            reason = " ".join(str(error).split())
            text = f'plugin type "{name}" is broken: {type(error).__name__}: {reason}'
            shaper.add(self._place(name), text)
        if name in self._asked:
            self._reading.shaper.mistakes += shaper.mistakes
        elif shaper.mistakes:
            self.problems[name] = "; ".join(mistake.text for mistake in shaper.mistakes)
            self.settings.pop(name, None)
            self.blocks.pop(name, None)
            written = self._reading.written
            written[:] = [part for part in written if part.path != ("plugin_type", name)]

    def _shape(self, name: str, type_: PluginType, shaper: Shaper) -> None:
        path = ("plugin_type", name)
        schema = type_.settings_schema()
        block = Branch(self._place(name), open=True)
        if self._reading.dev_folder is not None:
            dev = type_.dev_settings(self._reading.dev_folder)
            block = merged(block, grafted(dev, Place("--dev")))
        if name in self._written:
            block = merged(block, self._written[name])
        below = block
        block = self._reading.overrides.over(block, rows_of(schema, path), depth=len(path))
        if block is not below:  # A variable or flag names the type, as a block does.
            self._asked |= {name}
        values = shaper.body(block, schema, path, f'plugin_type "{name}"')
        self._reading.written.append(Written(path, schema, block))
        self.blocks[name] = values or {}
        self.settings[name] = shaper.load(schema, values, path, block.place)

    def _place(self, name: str) -> Place:
        return self._written.get(name, self._reading.root).place


def expected_keys(type_: PluginType) -> dict[str, str]:
    """Return, for each role, the key in a ``plugin`` block for the number of expected instances."""
    return {role: f"{plural.lower()}_expected" for role, plural in type_.roles.items()}


def _choice(values: Mapping[str, Any]) -> PluginTypeChoice:
    """Return the choice of types for a core that could not be loaded as a whole."""
    try:
        choice: PluginTypeChoice = PluginTypesSchema().load(values)
    except ValidationError:
        return PluginTypeChoice()
    return choice
