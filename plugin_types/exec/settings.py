"""The ``plugin_type "exec" { }`` block: the programs to run, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validate

from plugind.fields import Duration, Flag, Identifier, Text
from plugind.plugin_type import Schedule, ScheduleSchema, Settings, SettingsSchema

NAGIOS = "nagios"
JSON = "json"
FORMATS = (NAGIOS, JSON)

WORDS_MAXIMUM = 256
WORD_MAXIMUM = 4_096


@dataclass(frozen=True)
class Check(Schedule):
    """A program to run: its path with its arguments, and how to read its output."""

    command: tuple[str, ...]
    format: str
    environment: Mapping[str, str]
    report_numbers: bool


@dataclass(frozen=True)
class ExecSettings(Settings):
    """The settings of the block; ``check`` is by plugin ID."""

    check: Mapping[str, Check]


class Command(fields.List[str]):
    """A program's path, or its name in PATH, and its arguments; loaded to a tuple."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, str):
            raise ValidationError('must be a list, such as ["/bin/sh", "-c", "..."].')
        found = super()._deserialize(value, attr, data, **kwargs)
        words = tuple(word or "" for word in found or ())
        if not (words and words[0]):
            raise ValidationError('must name a program, such as ["/bin/sh", "-c", "..."].')
        if "/" in words[0] and not words[0].startswith("/"):
            raise ValidationError("must begin with an absolute path, or a program's name in PATH.")
        if any("\0" in word for word in words):
            raise ValidationError("must not hold zero bytes.")
        return words


def _variables(environment: Mapping[str, str]) -> None:
    for name, text in environment.items():
        if not name or "=" in name or "\0" in name + text:
            raise ValidationError('must be variables, such as { LC_ALL = "C" }.')


class CheckSchema(ScheduleSchema):
    """A ``check "ID" { }`` block within the type's."""

    record: ClassVar[type[Any] | None] = Check

    command = Command(
        Text(maximum=WORD_MAXIMUM),
        required=True,
        validate=validate.Length(max=WORDS_MAXIMUM),
        metadata={
            "help": "the program and its arguments, which are not passed through a shell",
            "example": ["/usr/lib/nagios/plugins/check_disk", "-w", "10%"],
        },
    )
    format = Text(
        load_default=NAGIOS,
        validate=validate.OneOf(FORMATS, error="must be one of {choices}."),
        metadata={"help": "how its output is read: nagios (one plugin) or json (a line for each)"},
    )
    environment = fields.Dict(
        keys=Text(),
        values=Text(maximum=WORD_MAXIMUM),
        load_default=dict,
        validate=_variables,
        metadata={"help": "variables that it gets in addition to PATH; it has no others"},
    )
    report_numbers = Flag(
        load_default=False,
        metadata={
            "help": "whether output (of nagios) also counts as a change when it differs from the "
            "last in numbers alone; its time then starts again with each probe"
        },
    )


class ExecSettingsSchema(SettingsSchema):
    record: ClassVar[type[Any] | None] = ExecSettings

    # Starting a program costs more than a request on an open socket.
    probe_interval = Duration(
        load_default=30.0,
        minimum=0.01,
        maximum=86_400,
        metadata={"help": "how often each check is run that does not set its own"},
    )
    probe_timeout = Duration(
        load_default=10.0,
        minimum=0.01,
        maximum=3_600,
        metadata={"help": "how long a check may run that does not set its own"},
    )
    check = fields.Dict(
        keys=Identifier(),
        values=fields.Nested(CheckSchema),
        load_default=dict,
        metadata={"help": "programs to run, by plugin ID"},
    )
