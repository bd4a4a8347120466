"""The forms that a body can be asked for in: indented, and packed. Both give way to other work."""

from __future__ import annotations

import re
import zlib

import orjson

from plugind.api.yielding import in_slices
from plugind.catalogue.rendering import Listing

PACKED_MINIMUM = 150
"""Bytes of a body that is packed. Shorter ones, such as answers to heartbeats, get no smaller."""

_LEVEL = 4  # beyond it lists get little smaller, and take much longer
_GZIP = 16 + zlib.MAX_WBITS  # the container of RFC 1952, without a name or a time
_CHUNK = 64 * 2**10
_INDENTATION = re.compile(rb"^ +", re.MULTILINE)


def pretty(body: bytes | Listing) -> bytes:
    """Return JSON indented by four spaces, with a newline at the end; keys stay in their order."""
    if isinstance(body, bytes):
        return _indented(body) + b"\n"
    if not body.rows:
        return b"[]\n"
    rows = [_indented(row).replace(b"\n", b"\n    ") for _, row in in_slices(body.rows)]
    return b"[\n    " + b",\n    ".join(rows) + b"\n]\n"


def _indented(body: bytes) -> bytes:
    """Return JSON indented by four spaces. No text in it has a line's end that is not escaped, so
    what begins a line is orjson's indentation of two."""
    return _INDENTATION.sub(
        rb"\g<0>\g<0>", orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2)
    )


def gzipped(body: bytes) -> bytes:
    """Return a body packed with gzip, by chunks, between which other threads run."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    starts = range(0, len(body), _CHUNK)
    parts = [packer.compress(body[start : start + _CHUNK]) for start in starts]
    return b"".join([*parts, packer.flush()])
