"""JSON as Go's encoding/json reads it, because container runtimes are written in Go.

See https://pkg.go.dev/encoding/json#Unmarshal. Python's own reader accepts more: NaN, Infinity, and
UTF-16. When Go decodes into a struct, a key matches a field whatever its case; when Go decodes into
a map (the top level of a list of plugins), a key must match exactly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

Object = Mapping[str, Any]

_SURROGATES = re.compile("[\ud800-\udfff]")


def read(data: bytes) -> Any:
    """Return the value that the bytes hold. Raise ValueError with the problem.

    As in Go, bytes that are not UTF-8 become U+FFFD within text, and are an error anywhere else. A
    byte-order mark is an error, too.
    """
    try:
        return json.loads(data.decode(errors="replace"), parse_constant=_reject)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _reject(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number in JSON")


def field(value: Object, name: str) -> Any:
    """Return the value that Go puts into a struct's field of that name; None if there is none.

    It is the value of the last member that is not null and whose key is the name, whatever its
    case.
    """
    wanted = name.casefold()
    found = [each for key, each in value.items() if key.casefold() == wanted and each is not None]
    return found[-1] if found else None


def text(value: Any) -> str:
    """Return a text without lone surrogates; "" for a value that is not a text."""
    return _SURROGATES.sub("\ufffd", value) if isinstance(value, str) else ""
