"""JSON that is assembled from fragments that are rendered already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson


def fragment(value: Any) -> bytes:
    """Return a value as JSON, its keys sorted. Raise TypeError for what JSON cannot express."""
    return exact(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))


def exact(text: bytes) -> bytes:
    """Return a copy of orjson's result that takes no more memory than it needs.

    orjson does not cut its buffer to size: the bytes of a row take 4 KiB, and those of a list up to
    five times their length (orjson 3.13.0).
    """
    return bytes(memoryview(text))


def fragments(document: Mapping[str, Any]) -> dict[str, bytes]:
    """Return each value of a document as JSON."""
    return {key: fragment(value) for key, value in document.items()}


def array(values: Iterable[bytes]) -> bytes:
    """Return a JSON array of values that are rendered already."""
    return b"[" + b",".join(values) + b"]"


def object_(members: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a JSON object of members that are rendered already, in the order given."""
    return b"{" + b",".join(b'"%b":%b' % (key.encode(), value) for key, value in members) + b"}"
