"""The ``plugin_type "docker" { }`` block: where Docker looks for plugins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from marshmallow import fields

from plugind.fields import Text
from plugind.plugin_type import Settings, SettingsSchema


@dataclass(frozen=True)
class DockerSettings(Settings):
    """The settings of the block."""

    sockets: str
    specs: list[str]


class DockerSettingsSchema(SettingsSchema):
    record: ClassVar[type[Any] | None] = DockerSettings

    sockets = Text(
        load_default="/run/docker/plugins",
        metadata={"path": True, "help": "the folder of plugins' sockets"},
    )
    specs = fields.List(
        Text(),
        load_default=["/etc/docker/plugins", "/usr/lib/docker/plugins"],
        metadata={"path": True, "help": "the folders of plugins' .spec and .json files"},
    )
