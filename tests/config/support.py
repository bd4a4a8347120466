"""Plugin types and a store to configure, and short functions to load and to list mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from marshmallow import ValidationError, fields

from plugind.config.loading import load
from plugind.config.settings import PluginTypeChoice, Settings
from plugind.errors import ConfigError
from plugind.plugin_type import PluginType, SettingsSchema, WireSchema
from plugind.plugin_type import Settings as TypeSettings
from plugind.wire.fields import Identifier, Number, Record, Text


@dataclass(frozen=True)
class Disk:
    endpoint: str
    role: str | None
    options: Mapping[str, str] = field(default_factory=dict)
    key: int = 1


class DiskSchema(Record):
    record = Disk

    endpoint = Text(required=True, metadata={"path": True, "example": "unix:///run/disk.sock"})
    role = Text(load_default=None, metadata={"help": "its role"})
    options = fields.Dict(keys=fields.String(), values=Text(maximum=3), load_default=dict)
    key = Number(load_default=1)


@dataclass(frozen=True)
class DiskSettings(TypeSettings):
    sockets: list[str]
    retries: int
    instance: Mapping[str, Disk]


class DiskTypeSchema(SettingsSchema):
    record = DiskSettings

    sockets = fields.List(
        Text(), load_default=["/run/disk/*.sock"], metadata={"path": True, "help": "globs"}
    )
    retries = Number(maximum=9, load_default=3)
    instance = fields.Dict(keys=Identifier(), values=fields.Nested(DiskSchema), load_default=dict)


class DiskType(PluginType):
    name = "disk"
    roles = {"controller": "Controllers", "node": "Nodes"}  # noqa: RUF012
    default_role = "node"
    settings_schema = DiskTypeSchema
    fingerprint_schemas = {"controller": WireSchema, "node": WireSchema}  # noqa: RUF012

    def dev_settings(self, folder: Path) -> Mapping[str, Any]:
        return {"sockets": [folder / "disk" / "*.sock"]}


class NetType(PluginType):
    name = "net"
    roles = {"node": "Nodes"}  # noqa: RUF012
    default_role = "node"
    fingerprint_schemas = {"node": WireSchema}  # noqa: RUF012


class NeedySchema(SettingsSchema):
    record = None

    licence = Text(required=True)
    colour = Text(load_default="red", validate=lambda text: _explode(text))


def _explode(text: str) -> None:
    if text == "plaid":
        raise RuntimeError("no such\ncolour")
    if text != "red":
        raise ValidationError("Must be red.")


class NeedyType(NetType):
    name = "needy"
    settings_schema = NeedySchema


@dataclass(frozen=True)
class BoxSettings:
    path: str
    fast: bool


class BoxSchema(Record):
    record = BoxSettings

    path = Text(load_default="box.db", metadata={"path": True})
    fast = fields.Boolean(load_default=False)


class BoxStore:
    settings_schema: ClassVar[type[Record]] = BoxSchema


@dataclass
class Installed:
    """The installed plugin types and stores, and the names that the last load asked for."""

    types: dict[str, PluginType] = field(
        default_factory=lambda: {"disk": DiskType(), "net": NetType()}
    )
    stores: dict[str, type[Any]] = field(
        default_factory=lambda: {"sqlite": BoxStore, "other": BoxStore}
    )
    problems: dict[str, str] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()

    def __call__(self, choice: PluginTypeChoice, asked: frozenset[str]) -> Installed:
        self.asked = asked
        allowed = {name: type_ for name, type_ in self.types.items() if choice.allows(name)}
        disabled = {name: "it is disabled" for name in self.types if not choice.allows(name)}
        return Installed(allowed, self.stores, self.problems | disabled)


def settings(
    *paths: Path,
    variables: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    installed: Installed | None = None,
    dev_folder: Path | None = None,
) -> Settings:
    return load(
        paths,
        environ=variables or {},
        flags=flags or {},
        plugins=installed or Installed(),
        dev_folder=dev_folder,
    )


def mistakes(*paths: Path, **more: Any) -> list[str]:
    """Return the mistakes as the lines that people see, with file names in place of paths."""
    with pytest.raises(ConfigError) as raised:
        settings(*paths, **more)
    found = list(raised.value.mistakes)
    assert found == sorted(found)
    assert all("\n" not in mistake.text for mistake in found)
    return [_short(str(mistake), paths) for mistake in found]


def _short(text: str, paths: tuple[Path, ...]) -> str:
    for path in paths:
        text = text.replace(f"{path.parent}/", "")
    return text
