"""The ``plugin_type "cni" { }`` block: where executables and networks' configurations are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from marshmallow import ValidationError, fields

from plugind.fields import Duration, Text
from plugind.plugin_type import Settings, SettingsSchema

# Where upstream releases are usually unpacked, and where packages of distributions put them.
DEFAULT_BIN_DIRS = ("/opt/cni/bin", "/usr/lib/cni")
DEFAULT_CONF_DIR = "/etc/cni/net.d"
DEFAULT_IGNORE = (".*", "*~", "*.bak", "*.dpkg-*", "*.new", "*.old", "*.tmp", "install")


@dataclass(frozen=True)
class CniSettings(Settings):
    """The settings of the block; paths are absolute."""

    bin_dirs: tuple[str, ...]
    conf_dir: str
    allow: tuple[str, ...]
    ignore: tuple[str, ...]

    @property
    def folders(self) -> tuple[str, ...]:
        return (*self.bin_dirs, self.conf_dir)


class Folder(Text):
    """The absolute path of a folder."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        path = super()._deserialize(value, attr, data, **kwargs)
        if not path.startswith("/") or "\0" in path:
            raise ValidationError('must be an absolute path, such as "/opt/cni/bin".')
        return os.path.normpath(path)


class Texts(fields.List[str]):
    """A list, loaded to a tuple."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, str):
            raise ValidationError('must be a list, such as ["/opt/cni/bin"].')
        return tuple(super()._deserialize(value, attr, data, **kwargs) or ())


class CniSettingsSchema(SettingsSchema):
    record: ClassVar[type[Any] | None] = CniSettings

    # An executable's answer changes only with its file, and a changed file is noticed at once.
    probe_interval = Duration(
        load_default=30.0,
        minimum=0.01,
        maximum=86_400,
        metadata={"help": "how often each executable is run that did not change"},
    )
    bin_dirs = Texts(
        Folder(),
        load_default=DEFAULT_BIN_DIRS,
        metadata={
            "path": True,
            "help": "folders with CNI's executables; of two with one name the first counts, as "
            "it does for container runtimes",
        },
    )
    conf_dir = Folder(
        load_default=DEFAULT_CONF_DIR,
        metadata={
            "path": True,
            "help": "folder with networks' configurations: *.conf, *.conflist, *.json",
        },
    )
    allow = Texts(
        Text(),
        load_default=(),
        metadata={
            "help": "patterns of file names in bin_dirs that are run even if no network needs them",
            "example": ["bridge", "dhcp"],
        },
    )
    ignore = Texts(
        Text(),
        load_default=DEFAULT_IGNORE,
        metadata={"help": "patterns of file names in bin_dirs that are never run, allowed or not"},
    )


def dev_settings(folder: Path) -> dict[str, Any]:
    """Return the block for ``--dev``: everything is in ``folder``/cni and nowhere else."""
    return {"bin_dirs": [str(folder / "cni/bin")], "conf_dir": str(folder / "cni/net.d")}
