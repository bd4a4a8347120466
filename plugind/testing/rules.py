"""What every plugin type must do right, rule by rule.

Each rule is a function that yields what falls short; its name is the rule's, its docstring says
what the rule demands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from plugind.configured import load_settings
from plugind.errors import ConfigError, RegistryError
from plugind.flaws import told
from plugind.plugin_schemas import PluginSchemas
from plugind.plugin_type import PluginType
from plugind.registry import load_registry
from plugind.testing.trial import Evidence, try_out


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that is demanded of every plugin type. ``check`` yields what falls short."""

    name: str
    demand: str
    check: Callable[[Subject], Iterator[str]]

    def __str__(self) -> str:
        return self.name


class Rules:
    """A table of rules, filled by decorating their checks."""

    def __init__(self) -> None:
        self.table: list[Rule] = []

    def __call__(self, check: Callable[[Subject], Iterator[str]]) -> Callable[..., Iterator[str]]:
        name = check.__name__.strip("_").replace("_", "-")
        demand = " ".join((check.__doc__ or "").split())
        self.table.append(Rule(name, demand, check))
        return check


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a plugin type stands by one rule; ``note`` says what could not be seen."""

    rule: Rule
    shortfalls: tuple[str, ...] = ()
    note: str = ""

    @property
    def passed(self) -> bool:
        return not self.shortfalls

    def __str__(self) -> str:
        """One line a shortfall, each with the rule's name; "" when there is none."""
        return "\n".join(f"{self.rule}: {text}" for text in self.shortfalls)


class Subject:
    """A plugin type that is looked at, by its name; use it in a ``with`` block.

    ``block`` are its settings while its prober is on trial; by default those for ``--dev``, where
    everything lives in an empty folder. Raises RegistryError where no package brings such a type.
    """

    def __init__(self, name: str, block: Mapping[str, Any] | None = None) -> None:
        self._registry = load_registry()
        self.name = name
        self._block = block
        self._until_end = ExitStack()
        self.refusal = self._registry.problems.get(name, "")
        if name not in self._registry.types and not self.refusal:
            there = ", ".join(sorted(self._registry.types)) or "none"
            raise RegistryError(f"no plugin type {name!r} is installed; there are: {there}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._until_end.close()

    @property
    def type(self) -> PluginType:
        return self._registry.types[self.name]

    @property
    def others(self) -> Sequence[PluginType]:
        """The other types that are installed."""
        types = self._registry.types
        return [type_ for name, type_ in sorted(types.items()) if name != self.name]

    @cached_property
    def schemas(self) -> PluginSchemas:
        return PluginSchemas.of(self.type)

    @cached_property
    def folder(self) -> Path:
        """An empty folder, for everything."""
        return Path(self._until_end.enter_context(TemporaryDirectory(prefix="plugind-")))

    @cached_property
    def block(self) -> Mapping[str, Any]:
        """The settings on trial, as plain values."""
        if self._block is not None:
            return self._block
        block = self.type.dev_settings(self.folder)
        plain: Mapping[str, Any] = json.loads(json.dumps(block, allow_nan=False))
        return plain

    @cached_property
    def evidence(self) -> Evidence:
        """What the prober's trial showed; it is tried out once."""
        settings = self.type.settings_schema().load(self.block)
        return try_out(self.type, self.block, settings.probe_timeout, self.folder)

    def load(self, dev_folder: Path | None) -> Iterator[str]:
        """What is wrong with the type's settings where configuration says nothing of them."""
        try:
            load_settings([], {"plugin_types_enabled": self.name}, dev_folder, environ={})
        except ConfigError as error:
            yield from (mistake.text for mistake in error.mistakes)

    def judge(self, rule: Rule) -> Verdict:
        """How the type stands by a rule."""
        if self.refusal and rule.name != "usable":
            return Verdict(rule, (f"it cannot be seen: {self.refusal}",))
        shortfalls: list[str] = []
        try:
            for text in rule.check(self):
                shortfalls.append(text)
            return Verdict(rule, tuple(shortfalls), self._note(rule))
        except Exception as error:  # a stranger's code
            return Verdict(rule, (*shortfalls, told(error)))

    def _note(self, rule: Rule) -> str:
        """Where nothing was seen nothing was proved."""
        if rule.name == "findings" and not self.evidence.targets:
            return "its prober found no target to probe; give settings with which it does"
        return ""
