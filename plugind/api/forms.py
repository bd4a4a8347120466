"""The forms of a body that clients can ask for: indented, and packed with gzip.

Making either lets other threads run meanwhile.
"""

from __future__ import annotations

import re
import zlib

import orjson

from plugind.api.yielding import in_slices
from plugind.catalogue.rendering import Listing

PACKED_MINIMUM = 150
"""Bytes of the smallest body that is packed. Shorter ones, such as answers to heartbeats, do not
shrink."""

_LEVEL = 4  # higher levels take much longer, and make lists only a little smaller
_GZIP = 16 + zlib.MAX_WBITS  # the container of RFC 1952, without a name or a time
_CHUNK = 64 * 2**10
_INDENTATION = re.compile(rb"^ +", re.MULTILINE)


def pretty(body: bytes | Listing) -> bytes:
    """Return JSON indented by four spaces, with a newline at the end; keys keep their order."""
    if isinstance(body, bytes):
        return _indented(body) + b"\n"
    if not body.rows:
        return b"[]\n"
    rows = [_indented(row).replace(b"\n", b"\n    ") for _, row in in_slices(body.rows)]
    return b"[\n    " + b",\n    ".join(rows) + b"\n]\n"


def _indented(body: bytes) -> bytes:
    """Return JSON indented by four spaces. Strings in JSON have no unescaped newlines, so spaces at
    the start of a line are always orjson's indentation by two, which is doubled here."""
    return _INDENTATION.sub(
        rb"\g<0>\g<0>", orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2)
    )


def gzipped(body: bytes) -> bytes:
    """Return a body packed with gzip, in chunks, between which other threads can run."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    starts = range(0, len(body), _CHUNK)
    parts = [packer.compress(body[start : start + _CHUNK]) for start in starts]
    return b"".join([*parts, packer.flush()])
