"""Durations in Go's format, times with nanoseconds, and fields that accept only their own type."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from marshmallow import ValidationError

from plugind import fields

GO_DURATIONS = [
    ("0", 0, "0s"),
    ("+0", 0, "0s"),
    ("-0", 0, "0s"),
    ("1ns", 1, "1ns"),
    ("1.1us", 1_100, "1.1µs"),
    ("2.2ms", 2_200_000, "2.2ms"),
    ("250ms", 250_000_000, "250ms"),
    (".5s", 500_000_000, "500ms"),
    ("1.s", 10**9, "1s"),
    ("3.3s", 3_300_000_000, "3.3s"),
    ("1h30m", 5_400 * 10**9, "1h30m0s"),
    ("4m5s", 245 * 10**9, "4m5s"),
    ("4m5.001s", 245_001_000_000, "4m5.001s"),
    ("-1.5h", -5_400 * 10**9, "-1h30m0s"),
    ("1m0.25s", 60_250_000_000, "1m0.25s"),
    ("2562047h47m16.854775807s", 2**63 - 1, "2562047h47m16.854775807s"),
]


@pytest.mark.parametrize(("text", "nanoseconds", "printed"), GO_DURATIONS)
def test_durations_are_read_and_printed_as_go_does(
    text: str, nanoseconds: int, printed: str
) -> None:
    assert fields.parse_duration(text) == nanoseconds
    assert fields.format_duration(nanoseconds) == printed


@pytest.mark.parametrize(
    "text",
    [
        *("", "5", "abc", "1h!!2m", "s", ".s", "1 s", "- 1s", "--1s", "1d", "1H", "1s ", "1e3s"),
        *("1٣s", "²s", "9223372036854775808ns", "3000000h", "1s" * 40, "1s\n"),
    ],
)
def test_invalid_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration"):
        fields.parse_duration(text)


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_a_printed_duration_is_read_back(nanoseconds: int) -> None:
    assert fields.parse_duration(fields.format_duration(nanoseconds)) == nanoseconds


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        fields.parse_duration(text)
    except ValueError:
        assert not re.fullmatch(r"[1-9][0-9]{0,5}s", text)


@given(st.integers(0, 2**63 - 1))
@example(1795525072517827870)
def test_a_printed_time_is_read_back(nanoseconds: int) -> None:
    text = fields.format_time(nanoseconds)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z", text)
    assert fields.parse_time(text) == nanoseconds


def test_a_time_in_a_sentence_is_to_the_second() -> None:
    assert fields.time_text(1795525072517827870) == "2026-11-24T12:57:52Z"
    assert fields.time_text(1795525072999999999) == "2026-11-24T12:57:52Z"
    assert fields.time_text(0) == "1970-01-01T00:00:00Z"


def test_times_have_zones_and_fractions() -> None:
    assert fields.format_time(1795525072517827870) == "2026-11-24T12:57:52.51782787Z"
    assert fields.parse_time("2026-11-24T14:57:52.51782787+02:00") == 1795525072517827870
    assert fields.parse_time("1970-01-01t00:00:00.000000001z") == 1


@pytest.mark.parametrize(
    "text",
    [
        *("", "2026-11-24", "2026-11-24T12:57:52", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        *("2026-11-24T12:57:52+99:00", "9999-12-31T23:59:59Z", "2026-11-24 12:57:52Z"),
    ],
)
def test_invalid_times(text: str) -> None:
    with pytest.raises(ValueError, match=r"time"):
        fields.parse_time(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (fields.Flag(), 1),
        (fields.Flag(), "true"),
        (fields.Flag(), None),
        (fields.Number(), True),
        (fields.Number(), "5"),
        (fields.Number(), 1.0),
        (fields.Number(), -1),
        (fields.Number(), 2**63),
        (fields.Number(minimum=1, maximum=3), 4),
        (fields.Text(), 5),
        (fields.Text(), "\ud800"),
        (fields.Text(maximum=3), "four"),
        (fields.Identifier(), ""),
        (fields.Identifier(), "-dash"),
        (fields.Identifier(), "a/b"),
        (fields.Identifier(), "a" * 129),
        (fields.Identifier(), "a\n"),
        (fields.Time(), 5),
        (fields.Time(), "yesterday"),
        (fields.Duration(), 30),
        (fields.Duration(), "30"),
        (fields.Duration(minimum=1), "10ms"),
        (fields.Duration(maximum=60), "2m"),
        (fields.Duration(), "-1s"),
    ],
)
def test_fields_refuse_what_merely_looks_right(field: Any, value: Any) -> None:
    with pytest.raises(ValidationError, match=r"must|may not be null"):
        field.deserialize(value)


def test_fields_take_what_is_right() -> None:
    assert fields.Flag().deserialize(False) is False
    assert fields.Number().deserialize(2**63 - 1) == 2**63 - 1
    assert fields.Identifier().deserialize("aws-ebs0.x_1") == "aws-ebs0.x_1"
    assert fields.Duration().deserialize("1h30m") == 5400.0
    assert fields.Time().deserialize("1970-01-01T00:00:01Z") == 10**9


def test_node_ids_are_uuids_in_one_form() -> None:
    assert fields.is_node_id("b0af9003-b888-13e3-5e2c-e67cd552bff8")
    for other in (
        "B0AF9003-b888-13e3-5e2c-e67cd552bff8",
        "b0af9003b88813e35e2ce67cd552bff8",
        "{b0af9003-b888-13e3-5e2c-e67cd552bff8}",
        "b0af9003",
        "",
    ):
        assert not fields.is_node_id(other)
