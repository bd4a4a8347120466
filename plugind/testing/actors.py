"""Who stands beside a prober on trial: four targets that misbehave and one that does not.

Every call of the type's own prober is noted, in a file of lines of JSON: one when it begins and one
when it ends.
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

from plugind.agent.findings import examine
from plugind.agent.probing import NAME_MAXIMUM
from plugind.errors import ProbeFailed
from plugind.plugin_schemas import PluginSchemas
from plugind.plugin_type import PluginType, Prober, Schedule
from plugind.testing.samples import PLAIN, details

T = TypeVar("T")
Findings = Mapping[tuple[str, str], Mapping[str, Any]]

PREFIX = "on-trial-"
"""Of the names and plugin IDs of the targets that are no real ones."""

STEADY, FAILING, RAISING, HANGING, FLOODING = BEHAVIOURS = (
    "steady",
    "failing",
    "raising",
    "hanging",
    "flooding",
)

_FLOOD = 5_000
_SCHEDULE = Schedule(probe_interval=0.1, probe_timeout=0.3, unhealthy_after=1)


class Pen:
    """Writes notes, each at once and whole."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._numbers = itertools.count()

    def write(self, **note: Any) -> None:
        os.write(self._file, json.dumps(note).encode() + b"\n")

    def noted(self, call: str, what: Callable[[], T], target: str = "") -> T:
        """Calls that, and notes when it began and how it ended."""
        number = next(self._numbers)
        began = time.monotonic()
        self.write(number=number, call=call, target=target, began=began)
        error = ""
        try:
            return what()
        except ProbeFailed:
            raise
        except BaseException as raised:
            error = _told(raised)
            raise
        finally:
            self.write(number=number, took=time.monotonic() - began, error=error)


@dataclass(frozen=True)
class Actor:
    """A target that misbehaves from its second probe on, or does not. ``well`` is by role what is
    found while it does not."""

    behaviour: str
    well: Mapping[str, Mapping[str, Any]] = field(compare=False, hash=False)
    played: list[int] = field(default_factory=list, compare=False, hash=False)

    @property
    def name(self) -> str:
        return PREFIX + self.behaviour

    def probe(self) -> Findings:
        self.played.append(1)
        if len(self.played) > 1:
            if self.behaviour == FAILING:
                raise ProbeFailed("it fails, as it was told to")
            if self.behaviour == RAISING:
                raise KeyError("it raises, as it was told to")
            if self.behaviour == HANGING:
                threading.Event().wait()
            if self.behaviour == FLOODING:
                many = (f"{self.name}-{number}" for number in range(_FLOOD))
                return {(id, role): self.well[role] for id in many for role in self.well}
        return {(self.name, role): found for role, found in self.well.items()}


def on_trial(type_: PluginType, pen: Pen) -> PluginType:
    """The same type, but that its prober is not alone."""
    make = type_.prober
    schemas = PluginSchemas.of(type_)
    well = {role: {"Healthy": True, **details(schemas, role, PLAIN)} for role in type_.roles}

    def prober(settings: Any) -> Prober:
        made = pen.noted("prober", lambda: make(settings))
        actors = [Actor(behaviour, well) for behaviour in BEHAVIOURS]
        return Accompanied(made or Nothing(), type_.roles, settings.max_instances, actors, pen)

    type_.prober = prober  # type: ignore[method-assign]
    return type_


class Nothing(Prober):
    """Stands for the prober of a type that has none."""

    def discover(self) -> Mapping[str, Any]:
        return {}


class Accompanied(Prober):
    """The type's prober, whose targets stand beside the actors."""

    def __init__(
        self,
        prober: Prober,
        roles: Collection[str],
        maximum: int,
        actors: Iterable[Actor],
        pen: Pen,
    ) -> None:
        self._prober = prober
        self._roles = roles
        self._maximum = maximum
        self._pen = pen
        self._actors = {actor.name: actor for actor in actors}

    def discover(self) -> Mapping[str, Any]:
        try:
            found = dict(self._pen.noted("discover", self._prober.discover))
        except Exception:
            return self._actors  # it was noted
        self._pen.write(call="targets", count=len(found), odd=[*map(repr, filter(_is_odd, found))])
        return {**found, **self._actors}

    def schedule(self, target: Any) -> Schedule:
        if isinstance(target, Actor):
            return _SCHEDULE
        return self._pen.noted("schedule", lambda: self._prober.schedule(target))

    def watch(self, changed: Callable[[str | None], None]) -> None:
        self._prober.watch(changed)

    def probe(self, target: Any) -> Findings:
        if isinstance(target, Actor):
            return target.probe()
        found = self._pen.noted("probe", lambda: self._prober.probe(target), repr(target)[:200])
        _, flaws = examine(found, self._roles, self._maximum)
        if flaws:
            self._pen.write(call="flaws", flaws=flaws)
        return found

    def close(self, target: Any) -> None:
        if not isinstance(target, Actor):
            self._pen.noted("close", lambda: self._prober.close(target))


def _told(error: BaseException) -> str:
    """An exception, and where it was raised."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    place = f"{Path(frame.f_code.co_filename).name}:{line}"
    return f"{type(error).__name__}: {error} ({place})"


def _is_odd(name: Any) -> bool:
    return not isinstance(name, str) or not 0 < len(name) <= NAME_MAXIMUM
