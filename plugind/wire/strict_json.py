"""A strict parser of JSON from clients; cases that RFC 8259 leaves open are errors of one line.

Duplicate keys, NaN, Infinity and 1e999, nesting beyond a limit, more values than a limit and text
that is not UTF-8 are rejected. Lone surrogates are accepted here, because it depends on the field
whether they do harm.

A text is first parsed with orjson, which is many times faster than json. If orjson refuses a text,
or may have parsed it differently, json parses it again, with hooks that handle every case.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

import orjson

from plugind import handover
from plugind.errors import BadRequest, TooLarge

DEPTH_MAXIMUM = 32

VALUES_MAXIMUM = 400_000
"""Values in one text. Each takes about a hundred bytes of memory, however short it is. The report
of 4,096 instances with all of their fields has about 250,000 values."""

_DIGITS_MAXIMUM = 20  # enough for any 64-bit number; a longer one is out of range in any case

_CONTAINERS = (dict, list)  # a constant, because creating the tuple for each use is slower
_SMALL = 64 * 2**10  # bytes; the depth of a shorter text is found from the indentation of its lines
# The beginning of a line inside a container at the deepest allowed level, or below it.
_TOO_DEEP = b"\n" + b"  " * DEPTH_MAXIMUM
_STRING = re.compile(rb'"[^"]*"')
_DIGITS = bytes(ord("0") if chr(each).isdecimal() else ord(" ") for each in range(128)).ljust(256)
_LONG_NUMBER = b"0" * 19
"""The digits of a number that may not fit in 64 bits; ``_DIGITS`` makes every digit a zero."""


def parse(text: bytes) -> Any:
    """Return the value of a JSON text.

    Raise BadRequest with the problem and its place, or TooLarge for a text of more than
    VALUES_MAXIMUM values.
    """
    with handover.alone():
        _check_number(text)
    with handover.alone():
        value, is_shallow = _read_quickly(text)
    if value is None:
        value = _read(text)
    if not is_shallow:
        _check_depth(value)
    return value


def _read_quickly(text: bytes) -> tuple[Any, bool]:
    """Return the value of a JSON text, and whether its depth is known to be within the limit.

    The value is None when json has to parse the text. A key that occurs twice shows in the number
    of quotes: orjson drops one occurrence, and so at least two quotes.
    """
    is_small = len(text) <= _SMALL
    try:
        value = orjson.loads(text)
        again = orjson.dumps(value, option=orjson.OPT_INDENT_2 if is_small else None)
    except (ValueError, TypeError):
        return None, False
    is_exact = _LONG_NUMBER not in text.translate(_DIGITS)  # orjson may read long numbers as floats
    if not is_exact or _quotes(text) != _quotes(again):
        return None, False
    return value, is_small and _TOO_DEEP not in again


def _quotes(text: bytes) -> int:
    """Return the number of quotes in a JSON text that begin or end a string."""
    return _without_escapes(text).count(b'"')


def _without_escapes(text: bytes) -> bytes:
    """Return a JSON text without escaped quotes, so that each string ends at the next quote."""
    if b"\\" not in text:
        return text
    return text.replace(b"\\\\", b"").replace(b'\\"', b"")


def _read(text: bytes) -> Any:
    """Return the value of a JSON text. Raise BadRequest with the problem and its place."""
    try:
        with handover.alone():
            return json.loads(
                text.decode(),
                parse_constant=_refuse,
                parse_float=_finite,
                parse_int=lambda digits: int(digits[: _DIGITS_MAXIMUM + 1]),
                object_pairs_hook=_object,
            )
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise BadRequest(
            f"the body is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from error
    except RecursionError as error:
        raise _too_deep() from error


def _check_number(text: bytes) -> None:
    """Raise TooLarge for a text of more than VALUES_MAXIMUM values."""
    if len(text) <= VALUES_MAXIMUM or _values(text) <= VALUES_MAXIMUM:  # each has a byte at least
        return
    plain = _without_escapes(text)  # strings may hold commas
    # There are at least half as many values as strings, because each key has a value.
    is_more = plain.count(b'"') // 4 > VALUES_MAXIMUM
    if is_more or _values(_STRING.sub(b"", plain)) > VALUES_MAXIMUM:
        raise TooLarge(f"the body has more than {VALUES_MAXIMUM:,} values")


def _values(text: bytes) -> int:
    """Return an upper bound on the number of values in a JSON text.

    Each comma and each container adds one.
    """
    return 1 + text.count(b",") + text.count(b"[") + text.count(b"{")


def _too_deep() -> BadRequest:
    return BadRequest(f"the body is nested deeper than {DEPTH_MAXIMUM} levels")


def _check_depth(value: Any) -> None:
    level = [value] if isinstance(value, _CONTAINERS) else []
    for _ in range(DEPTH_MAXIMUM):
        if not level:
            return
        handover.step()
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, _CONTAINERS)
        ]
    if level:
        raise _too_deep()


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits[:_DIGITS_MAXIMUM])


def _refuse(name: str) -> Any:
    raise BadRequest(f"the body is not JSON: {name} is not a JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    handover.step()
    value = dict(pairs)
    if len(value) < len(pairs):
        names = Counter(name for name, _ in pairs)
        twice, _ = names.most_common(1)[0]
        raise BadRequest(f"the body has the key {twice[:64]!a} twice in one object")
    return value
