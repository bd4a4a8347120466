"""The ``plugin_type "csi" { }`` block: the drivers' sockets, and how they are probed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validate, validates_schema

from plugin_types.csi.roles import ROLES
from plugind.fields import BlocksByRole, Duration, Identifier, Text
from plugind.plugin_type import Schedule, ScheduleSchema, Settings, SettingsSchema

# The usual paths of data_dir on Nomad's clients, from its packages and its guides.
_NOMAD_DATA = ("/var/lib/nomad", "/opt/nomad/data", "/opt/nomad")

DEFAULT_SOCKETS = (
    "/run/csi/*.sock",
    "/run/csi/*/csi.sock",
    # Nomad 0.11 has csi/{controller,node,monolith}/ID, newer ones have csi/plugins/ALLOC_ID.
    *(f"{data}/client/csi/*/*/csi.sock" for data in _NOMAD_DATA),
    "/var/lib/kubelet/plugins/*/csi.sock",
)

_SCHEME = "unix://"
_DAY = 86_400.0


@dataclass(frozen=True)
class NamedInstance(Schedule):
    """A driver that the configuration names: the path of its socket, its only role on this machine
    (None: it is found out), and its schedule."""

    endpoint: str
    role: str | None = None


@dataclass(frozen=True)
class CsiSettings(Settings):
    """The settings of the block.

    ``instance`` has the blocks of each plugin ID: a single one, or one for each role.
    ``refresh_interval`` and ``gc_threshold`` are in seconds.
    """

    sockets: tuple[str, ...]
    instance: Mapping[str, tuple[NamedInstance, ...]]
    refresh_interval: float
    gc_threshold: float = _DAY


def _absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise ValidationError('must be an absolute path, such as "/run/csi/*.sock".')
    return os.path.normpath(path)


class SocketGlobs(fields.List[str]):
    """A list of absolute globs, loaded to a tuple."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, str):
            raise ValidationError('must be a list, such as ["/run/csi/*.sock"].')
        globs = super()._deserialize(value, attr, data, **kwargs)
        return tuple(_absolute(glob or "") for glob in globs or ())


class Endpoint(Text):
    """``unix:///PATH``, as CSI drivers themselves expect it (CSI_ENDPOINT), loaded to the path."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        path = text.removeprefix(_SCHEME)
        if path == text or not path.startswith("/"):
            raise ValidationError('must be a socket, such as "unix:///srv/nfs/csi.sock".')
        return _absolute(path)


class NamedInstanceSchema(ScheduleSchema):
    """An ``instance "ID" { }`` block within the type's."""

    record: ClassVar[type[Any] | None] = NamedInstance

    endpoint = Endpoint(
        required=True, metadata={"help": 'the socket of the driver, as "unix:///PATH"'}
    )
    role = Text(
        load_default=None,
        validate=validate.OneOf(ROLES, error="must be one of {choices}."),
        metadata={"help": "the half that the driver has here; by default it is asked"},
    )


class CsiSettingsSchema(SettingsSchema):
    record: ClassVar[type[Any] | None] = CsiSettings

    sockets = SocketGlobs(
        Text(),
        load_default=DEFAULT_SOCKETS,
        metadata={
            "path": True,
            "help": "globs of drivers' sockets; a plugin's ID is the file's stem, or the name of "
            "the folder where the file is csi.sock",
        },
    )
    instance = fields.Dict(
        keys=Identifier(),
        values=BlocksByRole(NamedInstanceSchema),
        load_default=dict,
        metadata={
            "help": "drivers named one by one, by plugin ID; two blocks may have one ID if each "
            "has a role of its own"
        },
    )
    refresh_interval = Duration(
        load_default=60.0,
        minimum=0.01,
        maximum=86_400,
        metadata={"help": "how often a healthy driver is asked again what it is and can do"},
    )

    gc_threshold = Duration(
        load_default=_DAY,
        minimum=1,
        maximum=366 * _DAY,
        metadata={
            "help": "how long a dead or missing socket that only a glob found stays listed, "
            "unhealthy, before it is left out"
        },
    )

    @validates_schema
    def _one_block_a_socket(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        owners: dict[str, str] = {}
        for id, blocks in data["instance"].items():
            for endpoint in {block.endpoint for block in blocks}:
                owner = owners.setdefault(endpoint, id)
                if owner != id:
                    raise ValidationError(
                        f"{owner!r} and {id!r} name the same socket; keep one of them.", "instance"
                    )
            if len({block.endpoint for block in blocks}) < len(blocks):
                raise ValidationError(
                    f"both blocks of {id!r} name the same socket; keep one, without a role if its "
                    "driver has both.",
                    "instance",
                )


def dev_settings(folder: Path) -> dict[str, Any]:
    """Return the block for ``--dev``: sockets are in ``folder``/csi and nowhere else."""
    return {"sockets": [str(folder / "csi" / "*.sock")]}
