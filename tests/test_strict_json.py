"""JSON from clients: refused in one line where the standard leaves the meaning open."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugind.errors import BadRequest, TooLarge
from plugind.wire.strict_json import DEPTH_MAXIMUM, VALUES_MAXIMUM, parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_any_json_comes_through(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value


@given(st.binary())
def test_any_bytes_are_json_or_a_bad_request(body: bytes) -> None:
    with suppress(BadRequest):
        parse(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"{", "line 1 column 2"),
        (b'{"a": NaN}', "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"[1e999]", "1e999"),
        (b"[-1e999]", "-1e999"),
        (b"[-Infinity]", "-Infinity"),
        (b'{"a": 1, "b": {"x": 1, "x": 2}}', "'x' twice"),
        (b'"\xff"', "UTF-8 at byte 1"),
        (b"[" * (DEPTH_MAXIMUM + 1) + b"]" * (DEPTH_MAXIMUM + 1), "deeper than 32"),
        (b"[" * 300_000, "deeper than 32"),
        (b'{"a":' * 400 + b"1" + b"}" * 400, "deeper than 32"),
    ],
)
def test_refused(body: bytes, message: str) -> None:
    with pytest.raises(BadRequest, match=message) as caught:
        parse(body)
    assert "\n" not in str(caught.value)


def test_the_greatest_depth() -> None:
    parse(b"[" * DEPTH_MAXIMUM + b"]" * DEPTH_MAXIMUM)


def test_lone_surrogates_pass_for_the_field_to_validate() -> None:
    assert parse(rb'"\ud800"') == "\ud800"


def test_a_number_of_a_million_digits_is_out_of_range_and_cheap() -> None:
    before = time.process_time()
    assert parse(b"9" * 1_000_000) > 2**64
    assert parse(b"-" + b"9" * 1_000_000) < -(2**63)
    assert time.process_time() - before < 1


def test_a_million_keys_one_of_them_twice() -> None:
    keys = b",".join(b'"%d":0' % number for number in range(200_000))
    with pytest.raises(BadRequest, match="'7' twice"):
        parse(b"{" + keys + b',"7":1}')


def test_values_are_bounded() -> None:
    half = VALUES_MAXIMUM // 2
    wide = b"[" + b"[]," * half + b"0]"
    with pytest.raises(TooLarge, match="more than 400,000 values"):
        parse(wide)
    assert len(parse(wide.replace(b"[],", b"0,"))) == half + 1
    prose = 'a, [b], "{c}", \\' * half
    assert parse(json.dumps({"HealthDescription": prose}).encode()) == {"HealthDescription": prose}
