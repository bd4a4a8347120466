"""Parses JSON of clients strictly: cases that RFC 8259 leaves open are errors here, in one line.

Duplicate keys, NaN, Infinity and 1e999, nesting beyond a limit, more values than a limit and text
that is not UTF-8 are rejected. Lone surrogates pass, because it depends on the field whether they
do harm.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

from plugind import handover
from plugind.errors import BadRequest, TooLarge

DEPTH_MAXIMUM = 32

VALUES_MAXIMUM = 400_000
"""Values in one text. Each takes some hundred bytes of memory, however short it is; the report of
4,096 instances with all of their fields has about 250,000."""

_DIGITS_MAXIMUM = 20  # enough for any 64-bit number; a longer one is out of range in any case

_STRING = re.compile(rb'"[^"]*"')


def parse(text: bytes) -> Any:
    """Return the value of a JSON text.

    Raise BadRequest with the problem and its place, TooLarge for a text of more than VALUES_MAXIMUM
    values.
    """
    with handover.alone():
        _check_number(text)
    try:
        with handover.alone():
            value = json.loads(
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
    _check_depth(value)
    return value


def _check_number(text: bytes) -> None:
    """Raise TooLarge for a text of more than VALUES_MAXIMUM values."""
    if _values(text) <= VALUES_MAXIMUM:
        return
    # Strings may hold commas. Without escapes each string ends at the next quote.
    plain = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    # At least one of two strings is a value, because each key has one.
    is_more = plain.count(b'"') // 4 > VALUES_MAXIMUM
    if is_more or _values(_STRING.sub(b"", plain)) > VALUES_MAXIMUM:
        raise TooLarge(f"the body has more than {VALUES_MAXIMUM:,} values")


def _values(text: bytes) -> int:
    """Return an upper bound of the number of values in a JSON text.

    Each comma and each container adds one.
    """
    return 1 + text.count(b",") + text.count(b"[") + text.count(b"{")


def _too_deep() -> BadRequest:
    return BadRequest(f"the body is nested deeper than {DEPTH_MAXIMUM} levels")


def _check_depth(value: Any) -> None:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEPTH_MAXIMUM):
        handover.step()
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
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
