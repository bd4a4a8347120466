"""Reads JSON that strangers send: what RFC 8259 leaves open is an error here, told in one line.

Duplicate keys, NaN and Infinity, nesting beyond a limit and text that is not UTF-8 are refused.
Lone surrogates pass, for it depends on the field whether they hurt.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from plugind.errors import BadRequest

DEPTH_MAXIMUM = 32
_DIGITS_MAXIMUM = 20  # enough for any 64-bit number; a longer one is out of range all the same


def parse(text: bytes) -> Any:
    """The value of a JSON text. Raises BadRequest, saying what is wrong and where."""
    try:
        value = json.loads(
            text.decode(),
            parse_constant=_refuse,
            parse_int=_integer,
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


def _too_deep() -> BadRequest:
    return BadRequest(f"the body is nested deeper than {DEPTH_MAXIMUM} levels")


def _check_depth(value: Any) -> None:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEPTH_MAXIMUM):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    if level:
        raise _too_deep()


def _refuse(name: str) -> Any:
    raise BadRequest(f"the body is not JSON: {name} is no JSON number")


def _integer(digits: str) -> int:
    return int(digits[: _DIGITS_MAXIMUM + 1])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = Counter(name for name, _ in pairs)
        twice, _ = names.most_common(1)[0]
        raise BadRequest(f"the body has the key {twice[:64]!a} twice in one object")
    return value
