"""A plugin type whose targets are files that script a probe; run as a script, its prober's process.

Each file holds one line: ``healthy ROLE...``, ``unhealthy ROLE...`` or the name of a method below.
Files called ``patient...`` have a schedule of their own, those called ``odd...`` an invalid one,
those called ``lazy...`` none at all; those called ``named...`` count as named by configuration. The
instances of one called ``ID@as-ROLE+ROLE`` are known before a probe. The file ``.trouble`` has the
type's trouble. Lines written to the FIFO ``.changed`` are handed to ``changed``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from marshmallow import fields

from plugind import logs
from plugind.agent.prober.child import serve
from plugind.errors import ProbeFailed
from plugind.plugin_type import (
    PluginType,
    Prober,
    Schedule,
    Settings,
    SettingsSchema,
    WireSchema,
)


@dataclass(frozen=True)
class ScriptedSettings(Settings):
    folder: str


class ScriptedSettingsSchema(SettingsSchema):
    record = ScriptedSettings
    folder = fields.String(required=True)


class ScriptedProber(Prober):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def discover(self) -> Mapping[str, Any]:
        order = _text(self._folder / ".discover")
        if order == "raise":
            raise OSError("the folder is on fire")
        while order == "hang":
            time.sleep(0.01)
            order = _text(self._folder / ".discover")
        if order == "list":
            return [*self._folder.iterdir()]  # type: ignore[return-value]
        if order == "many":
            return {f"t{number}": number for number in range(1_200)}
        return {file.name: file for file in self._folder.iterdir() if file.name[0] != "."}

    def schedule(self, target: Any) -> Schedule:
        if isinstance(target, Path) and target.name.startswith("odd"):
            raise KeyError("timetable")
        if isinstance(target, Path) and target.name.startswith("patient"):
            return Schedule(probe_timeout=0.1, unhealthy_after=3)
        if isinstance(target, Path) and target.name.startswith("lazy"):
            return None  # type: ignore[return-value]
        return Schedule()

    def instances_of(self, target: Any) -> Any:
        id, _, what = str(getattr(target, "name", "")).partition("@as-")
        match what:
            case "":
                return None
            case "raise":
                raise KeyError("register")
            case "text":
                return "text"
            case "none":
                return ()
        return [(id, role) for role in what.split("+")]

    def is_configured(self, target: Any) -> bool:
        if isinstance(target, Path) and target.name.startswith("odd"):
            raise KeyError("timetable")
        return isinstance(target, Path) and target.name.startswith("named")

    def trouble(self) -> str:
        return _text(self._folder / ".trouble")

    def watch(self, changed: Callable[[str | None], None]) -> None:
        # Open for writing as well: it never ends, so no writer meets it between two openings.
        fifo = os.open(self._folder / ".changed", os.O_RDWR)
        with open(fifo, encoding="utf-8") as lines:
            for line in lines:
                changed(line.rstrip("\n") or None)

    def probe(self, target: Any) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        if isinstance(target, int):
            return {}
        word, *roles = _text(target).split() or ["empty"]
        if word in ("healthy", "unhealthy"):
            healthy = {"Healthy": word == "healthy", "HealthDescription": word}
            return {(target.name.partition("@")[0], role): healthy for role in roles}
        result: Mapping[tuple[str, str], Mapping[str, Any]] = getattr(
            self, word.replace("raise", "raise_")
        )(target)
        return result

    def close(self, target: Any) -> None:
        (self._folder / f".closed-{target.name}").touch()

    def fail(self, target: Path) -> Any:
        raise ProbeFailed("the page\nis torn")

    def error(self, target: Path) -> Any:
        raise KeyError("ink")

    def exit(self, target: Path) -> Any:
        sys.exit("bye")

    def nap(self, target: Path) -> Any:
        """Fail once, on the alarm signal."""
        napping = self._folder / f".napping-{target.name}"
        if not napping.exists():
            napping.touch()
            while not (self._folder / ".alarm").exists():
                time.sleep(0.01)
            raise ProbeFailed("it overslept")
        return {(target.name, "node"): {"Healthy": True, "HealthDescription": "healthy"}}

    def hang(self, target: Path) -> Any:
        while _text(target) == "hang":
            time.sleep(0.01)
        return self.probe(target)

    def late(self, target: Path) -> Any:
        time.sleep(1.5)
        with (self._folder / f".late-{target.name}").open("a") as file:
            file.write("x")
        return {(target.name, "node"): {"Healthy": True}}

    def remember(self, target: Path) -> Any:
        """Report the state folder, and how often the prober was asked there in all its lives."""
        assert self.state_dir is not None
        file = self.state_dir / target.name
        if not hasattr(self, "_asked"):
            self._asked = f"{_text(file)}x"
            file.write_text(self._asked)
        found = {"Healthy": True, "HealthDescription": f"{self.state_dir} {self._asked}"}
        return {(target.name, "node"): found}

    def die(self, target: Path) -> Any:
        os._exit(7)

    def eat(self, target: Path) -> Any:
        self._eaten = b"x" * (200 << 20)
        return {(target.name, "node"): {"Healthy": True}}

    def flood(self, target: Path) -> Any:
        return {(f"x{number}", "node"): {"Healthy": True} for number in range(1_001)}

    def big(self, target: Path) -> Any:
        return {(target.name, "node"): {"Healthy": True, "Text": "x" * (2 << 20)}}

    def nan(self, target: Path) -> Any:
        return {(target.name, "node"): {"Healthy": True, "Weight": float("nan")}}

    def print(self, target: Path) -> Any:
        print("a print() of the type's")
        os.write(1, b'{"junk": 1}\n')
        return {(target.name, "node"): {"Healthy": True}}


def _text(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


class ScriptedType(PluginType):
    name = "scripted"
    roles: ClassVar[Mapping[str, str]] = {"controller": "Controllers", "node": "Nodes"}
    default_role = "node"
    settings_schema = ScriptedSettingsSchema
    fingerprint_schemas: ClassVar[Mapping[str, type[WireSchema]]] = {
        "controller": WireSchema,
        "node": WireSchema,
    }

    def prober(self, settings: ScriptedSettings) -> Prober | None:
        return ScriptedProber(Path(settings.folder)) if settings.folder != "none" else None


if __name__ == "__main__":
    logs.configure()
    sys.exit(serve(ScriptedType))
