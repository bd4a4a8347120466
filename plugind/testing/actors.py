"""The actors in a prober's trial: five targets that misbehave and one that does not.

They run in the process of the type's own prober. Every call of that prober is noted in a file with
lines of JSON: one line when the call begins and one when it ends.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from plugind.agent.prober.probing import NAME_MAXIMUM
from plugind.agent.prober.results import examine, keys_of, targets_of
from plugind.errors import ProbeFailed
from plugind.plugin_type import PluginType, Prober, Schedule
from plugind.schemas.plugins import PluginSchemas
from plugind.testing.samples import PLAIN, details, undeclared
from plugind.wire.fields import ID_PATTERN

T = TypeVar("T")
Results = Mapping[tuple[str, str], Mapping[str, Any]]

PREFIX = "on-trial-"
"""The prefix of the names and plugin IDs of the actors."""

STEADY, COLD, FAILING, RAISING, HANGING, FLOODING = BEHAVIOURS = (
    "steady",
    "cold",
    "failing",
    "raising",
    "hanging",
    "flooding",
)

_FLOOD = 5_000
_SCHEDULE = Schedule(probe_interval=0.1, probe_timeout=0.3, unhealthy_after=1)


class Pen:
    """Writes notes to a file, each immediately and in one piece."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._numbers = itertools.count()

    def write(self, **note: Any) -> None:
        os.write(self._file, json.dumps(note).encode() + b"\n")

    def problem(self, *texts: str) -> None:
        """Note problems of an object that the type's prober returned."""
        self.write(call="problems", problems=texts)

    def noted(self, call: str, what: Callable[[], T], target: str = "") -> T:
        """Call ``what``, and note when it began and how it ended."""
        number = next(self._numbers)
        began = time.monotonic()
        self.write(number=number, call=call, target=target, began=began)
        error = ""
        try:
            return what()
        except ProbeFailed:
            raise
        except BaseException as raised:
            error = _one_line(raised)
            raise
        finally:
            self.write(number=number, took=time.monotonic() - began, error=error)


@dataclass(frozen=True)
class Actor:
    """A target that misbehaves from its second probe on (a cold one from its first), or never.

    ``well`` has its results, by role, for as long as it behaves well.
    """

    behaviour: str
    well: Mapping[str, Mapping[str, Any]] = field(compare=False, hash=False)
    played: list[int] = field(default_factory=list, compare=False, hash=False)

    @property
    def name(self) -> str:
        return PREFIX + self.behaviour

    def probe(self) -> Results:
        self.played.append(1)
        if self.behaviour == COLD:
            raise KeyError("it raises from its first probe on, as it was made to")
        if len(self.played) > 1:
            if self.behaviour == FAILING:
                raise ProbeFailed("it fails, as it was made to")
            if self.behaviour == RAISING:
                raise KeyError("it raises, as it was made to")
            if self.behaviour == HANGING:
                threading.Event().wait()
            if self.behaviour == FLOODING:
                many = (f"{self.name}-{number}" for number in range(_FLOOD))
                return {(id, role): self.well[role] for id in many for role in self.well}
        return {(self.name, role): found for role, found in self.well.items()}


def on_trial(type_: PluginType, pen: Pen) -> PluginType:
    """Return the type, changed so that its prober also has the actors as targets."""
    make = type_.prober
    schemas = PluginSchemas.of(type_)
    well = {role: {"Healthy": True, **details(schemas, role, PLAIN)} for role in type_.roles}

    def prober(settings: Any) -> Prober:
        made = pen.noted("prober", lambda: make(settings))
        if made is not None and not isinstance(made, Prober):
            pen.problem(f"prober() returned {type(made).__name__} instead of a Prober")
            made = None
        actors = [Actor(behaviour, well) for behaviour in BEHAVIOURS]
        return Accompanied(made or Nothing(), schemas, settings.max_instances, actors, pen)

    type_.prober = prober  # type: ignore[method-assign]
    return type_


class Nothing(Prober):
    """The prober of a type that has none."""

    def discover(self) -> Mapping[str, Any]:
        return {}


class Accompanied(Prober):
    """The type's prober, with the actors among its targets."""

    def __init__(
        self,
        prober: Prober,
        schemas: PluginSchemas,
        maximum: int,
        actors: Iterable[Actor],
        pen: Pen,
    ) -> None:
        self._prober = prober
        self._schemas = schemas
        self._roles = schemas.type.roles
        self._maximum = maximum
        self._pen = pen
        self._unfit: list[Any] = []  # targets whose names are not valid as IDs of plugins
        self._actors = {actor.name: actor for actor in actors}

    def discover(self) -> Mapping[str, Any]:
        try:
            self._prober.state_dir = self.state_dir
            found = self._pen.noted("discover", self._prober.discover)
        except Exception:
            return self._actors  # the exception has been noted
        try:
            found = dict(targets_of(found))
        except ProbeFailed as problem:
            self._pen.problem(str(problem))
            return self._actors
        self._unfit = [found[name] for name in found if not ID_PATTERN.fullmatch(str(name))]
        odd = [
            repr(name)
            for name in found
            if not isinstance(name, str) or not 0 < len(name) <= NAME_MAXIMUM
        ]
        self._pen.write(call="targets", count=len(found), odd=odd)
        return {**found, **self._actors}

    def schedule(self, target: Any) -> Schedule:
        if isinstance(target, Actor):
            return _SCHEDULE
        found = self._pen.noted("schedule", lambda: self._prober.schedule(target))
        if not isinstance(found, Schedule):
            self._pen.problem(f"schedule returned {type(found).__name__} instead of a Schedule")
        return found

    def instances_of(self, target: Any) -> Collection[tuple[str, str]] | None:
        if isinstance(target, Actor):
            return None
        what = repr(target)[:200]
        found = self._pen.noted("instances_of", lambda: self._prober.instances_of(target), what)
        try:
            _, problems = keys_of(found, self._roles, self._maximum)
        except ProbeFailed as problem:
            problems = (str(problem),)
        self._pen.problem(*problems)
        is_named = found is not None or target not in self._unfit
        self._pen.write(call="named", target=what, named=is_named)
        return found

    def is_configured(self, target: Any) -> bool:
        return not isinstance(target, Actor) and self._prober.is_configured(target)

    def trouble(self) -> str:
        return self._prober.trouble()

    def watch(self, changed: Callable[[str | None], None]) -> None:
        try:
            self._prober.watch(changed)
        except Exception as error:
            self._pen.problem(f"watch raised {_one_line(error)}")
            raise

    def probe(self, target: Any) -> Results:
        if isinstance(target, Actor):
            return target.probe()
        found = self._pen.noted("probe", lambda: self._prober.probe(target), repr(target)[:200])
        try:
            good, problems = examine(found, self._roles, self._maximum)
        except ProbeFailed as problem:
            good, problems = {}, (str(problem),)
        self._pen.problem(*problems, *undeclared(self._schemas, good))
        return found

    def close(self, target: Any) -> None:
        if not isinstance(target, Actor):
            self._pen.noted("close", lambda: self._prober.close(target))


def _one_line(error: BaseException) -> str:
    """Return in one line an exception and the place where it was raised."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    place = f"{Path(frame.f_code.co_filename).name}:{line}"
    return f"{type(error).__name__}: {error} ({place})"
