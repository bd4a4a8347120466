"""Rules for plugin types, and the subject that they are checked on.

Each rule is a function that yields the type's shortfalls. The function's name becomes the rule's
name, and its docstring the rule's demand.
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

from plugind.errors import ConfigError, RegistryError
from plugind.hints import suggestion
from plugind.plugin_type import PluginType
from plugind.schemas.plugins import PluginSchemas
from plugind.testing.trial import Evidence, try_out
from plugind.types.configured import load_settings
from plugind.types.registry import load_registry
from plugind.types.stray_output import stdout_to_stderr
from plugind.types.validation import one_line

USABLE = "usable"
"""The rule that must hold before any other can be checked."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A demand on every plugin type. ``check`` yields the shortfalls.

    ``after`` names the rules whose breach would break this rule as well. If one of them is broken,
    this rule is not checked, so that each mistake is reported only once.
    """

    name: str
    demand: str
    check: Callable[[Subject], Iterator[str]]
    after: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


Check = Callable[["Subject"], Iterator[str]]


class Rules:
    """A table of rules, filled by decorating their checks."""

    def __init__(self) -> None:
        self.table: list[Rule] = []

    def __call__(self, check: Check) -> Check:
        return self.after()(check)

    def after(self, *names: str) -> Callable[[Check], Check]:
        """Return a decorator for a rule that is checked only if none of those rules is broken."""

        def add(check: Check) -> Check:
            name = check.__name__.strip("_").replace("_", "-")
            demand = " ".join((check.__doc__ or "").split())
            self.table.append(Rule(name, demand, check, names))
            return check

        return add


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one rule; ``note`` says why the rule was not checked, or proved nothing."""

    rule: Rule
    shortfalls: tuple[str, ...] = ()
    note: str = ""

    @property
    def passed(self) -> bool:
        return not self.shortfalls

    def __str__(self) -> str:
        """Return one line for each shortfall, with the rule's name; "" when there is none."""
        return "\n".join(f"{self.rule}: {text}" for text in self.shortfalls)


class Subject:
    """A plugin type under test, by its name; use it in a ``with`` block.

    ``block`` has its settings for the trial of its prober; by default those for ``--dev``, with
    everything in an empty folder. Raise RegistryError when no package provides such a type.
    """

    def __init__(self, name: str, block: Mapping[str, Any] | None = None) -> None:
        self._registry = load_registry()
        self.name = name
        self._block = block
        self._until_end = ExitStack()
        self._shortfalls: dict[str, tuple[str, ...]] = {}
        self.refusal = self._registry.problems.get(name, "")
        if name not in self._registry.types and not self.refusal:
            near = suggestion(name, self._registry.types)
            raise RegistryError(f"no plugin type {name!r} is installed; {near}")

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
        """Return the other installed types."""
        types = self._registry.types
        return [type_ for name, type_ in sorted(types.items()) if name != self.name]

    @cached_property
    def schemas(self) -> PluginSchemas:
        return PluginSchemas.of(self.type)

    @cached_property
    def folder(self) -> Path:
        """Return an empty folder for all files of the trial."""
        return Path(self._until_end.enter_context(TemporaryDirectory(prefix="plugind-")))

    @cached_property
    def block(self) -> Mapping[str, Any]:
        """Return the settings for the trial, as plain values."""
        if self._block is not None:
            return self._block
        block = self.type.dev_settings(self.folder)
        plain: Mapping[str, Any] = json.loads(json.dumps(block, allow_nan=False))
        return plain

    @cached_property
    def evidence(self) -> Evidence:
        """Return the evidence of the prober's trial, which takes place only once."""
        settings = self.type.settings_schema().load(self.block)
        return try_out(self.type, self.block, settings.probe_timeout, self.folder)

    def load(self, dev_folder: Path | None) -> Iterator[str]:
        """Yield the problems in loading the type's settings when the configuration sets none."""
        try:
            load_settings([], {"plugin_types_enabled": self.name}, dev_folder, environ={})
        except ConfigError as error:
            yield from (mistake.text for mistake in error.mistakes)

    def check(self, rule: Rule) -> Verdict:
        """Return the verdict of a rule on the type.

        A shortfall that an earlier rule has reported is not reported again.
        """
        for name in (USABLE, *rule.after):
            if name != rule.name and self._shortfalls.get(name):
                return Verdict(rule, note=f"not checked until {name} is kept")
        with stdout_to_stderr():
            found = self._shortfalls_of(rule)
        self._shortfalls[rule.name] = found
        others = [name for name in self._shortfalls if name != rule.name]
        earlier = {text: name for name in reversed(others) for text in self._shortfalls[name]}
        new = tuple(text for text in found if text not in earlier)
        if found and not new:
            return Verdict(rule, note=f"not checked until {earlier[found[0]]} is kept")
        return Verdict(rule, new, "" if new else self._note(rule))

    def _shortfalls_of(self, rule: Rule) -> tuple[str, ...]:
        if self.refusal and rule.name != USABLE:
            return (f"it cannot be used: {self.refusal}",)
        shortfalls: list[str] = []
        try:
            for text in rule.check(self):
                shortfalls.append(text)
        except Exception as error:  # the type is another package's code
            shortfalls.append(one_line(error))
        return tuple(dict.fromkeys(shortfalls))

    def _note(self, rule: Rule) -> str:
        """Return the reason why a rule without shortfalls proved nothing, or ""."""
        # A prober that found nothing has proved nothing.
        if rule.name == "probe-results" and not self.evidence.targets:
            return "its prober found no target to probe; give settings with which it does"
        return ""
