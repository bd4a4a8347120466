"""Marshmallow fields for authors of plugin types, and conversions of times and durations."""

from plugind.model.times import (
    INT64_MAX,
    SECOND,
    format_duration,
    format_time,
    parse_duration,
    parse_time,
    time_text,
)
from plugind.wire.fields import (
    ID_PATTERN,
    BlocksByRole,
    Duration,
    Flag,
    Identifier,
    Number,
    Record,
    Text,
    Time,
    parse_bool,
)
from plugind.wire.texts import is_node_id, tame

__all__ = [
    "ID_PATTERN",
    "INT64_MAX",
    "SECOND",
    "BlocksByRole",
    "Duration",
    "Flag",
    "Identifier",
    "Number",
    "Record",
    "Text",
    "Time",
    "format_duration",
    "format_time",
    "is_node_id",
    "parse_bool",
    "parse_duration",
    "parse_time",
    "tame",
    "time_text",
]
