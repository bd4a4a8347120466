"""JSON from clients: refused with a one-line error where the standard leaves the meaning open."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugind.errors import BadRequest, TooLarge
from plugind.wire import strict_json
from plugind.wire.strict_json import DEPTH_MAXIMUM, VALUES_MAXIMUM, parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_any_json_comes_through(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value


TOKENS = st.sampled_from(
    [
        *("{", "}", "[", "]", ":", ",", " ", "\n", '"', "\\", '"a":', '"a"', '"\\u0061":', '"b":1'),
        *("1", "-0", "-0.0", "1.0", "1e5", "1e999", "0.1", "01", "-", "1" * 18, "1" * 19, "9" * 25),
        *("-9223372036854775809", "true", "null", "NaN", "Infinity", "\x7f", "\t", "\ufeff", "é"),
        *(
            r'"\ud800"',
            r'"\ud83d\ude00"',
            r'"\\"',
            r'"\""',
            r'"\n"',
            r'"\u0022"',
            '"' + "{" * 40 + '"',
        ),
        *("[" * 16, "]" * 16, '{"a":' * 16, "}" * 16),
    ]
)


def outcome(read: Callable[[bytes], Any], body: bytes) -> str:
    """Return the value that a text is parsed as, or the problem."""
    try:
        return repr(read(body))
    except BadRequest as error:
        return str(error)


def slowly(body: bytes) -> Any:
    value = strict_json._read(body)
    strict_json._check_depth(value)
    return value


@given(st.lists(TOKENS).map("".join))
def test_both_readers_find_the_same(text: str) -> None:
    assert outcome(parse, text.encode()) == outcome(slowly, text.encode())


PAIRS = st.recursive(
    st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(st.tuples(st.text(max_size=1), inner), max_size=4).map(tuple)
    ),
    max_leaves=12,
)
"""Values; objects are tuples of pairs, so that a key may appear twice."""


def written(value: Any, ascii_: bool, indent: str) -> str:
    if isinstance(value, tuple):
        pairs = (f"{json.dumps(key, ensure_ascii=ascii_)}:{indent}" for key, _ in value)
        inner = (written(each, ascii_, indent) for _, each in value)
        parts = (key + each for key, each in zip(pairs, inner, strict=True))
        return "{" + f",{indent}".join(parts) + "}"
    if isinstance(value, list):
        return "[" + f",{indent}".join(written(each, ascii_, indent) for each in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_)


@given(PAIRS, st.booleans(), st.sampled_from(["", " ", "\n  "]))
def test_both_readers_find_the_same_in_any_document(value: Any, ascii_: bool, indent: str) -> None:
    body = written(value, ascii_, indent).encode(errors="replace")
    assert outcome(parse, body) == outcome(slowly, body)


@pytest.mark.parametrize("depth", [1, DEPTH_MAXIMUM - 1, DEPTH_MAXIMUM, DEPTH_MAXIMUM + 1, 300])
@pytest.mark.parametrize("leaf", ["", "1", "[]", "{}", '"[[["'])
def test_both_readers_find_the_same_depth(depth: int, leaf: str) -> None:
    for start, end in (("[", "]"), ('{"a":', "}")):
        for around in ("", " " * 70_000):
            body = f"{start * depth}{leaf or '0'}{end * depth}{around}".encode()
            assert outcome(parse, body) == outcome(slowly, body)


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
