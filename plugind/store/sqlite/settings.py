"""The block ``store "sqlite" { }`` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from plugind.store.sqlite.log import LogLimits
from plugind.wire.fields import Duration, Number, Record


@dataclass(frozen=True)
class SqliteSettings(LogLimits):
    """The settings of the store; ``lock_timeout`` is in seconds."""

    lock_timeout: float = 10.0


class SqliteSettingsSchema(Record):
    record: ClassVar[type[Any] | None] = SqliteSettings

    log_keep = Duration(
        minimum=1.0,
        load_default=SqliteSettings.log_keep,
        metadata={"help": "how far back the log of whole changes reaches"},
    )
    log_max_size = Number(
        minimum=2**20,
        load_default=SqliteSettings.log_max_size,
        metadata={"help": "bytes of that log; beyond that it reaches less far back"},
    )
    lock_timeout = Duration(
        minimum=0.1,
        load_default=SqliteSettings.lock_timeout,
        metadata={"help": "how long a write waits for those of the server's other processes"},
    )
