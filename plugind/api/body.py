"""The bodies of requests: JSON from strangers, of bounded size."""

from __future__ import annotations

from flask import request

from plugind import strict_json
from plugind.errors import TooLarge

BODY_MAXIMUM = 8 * 2**20


def read_document() -> object:
    """The current request's body, as JSON. Raises BadRequest and TooLarge."""
    body = request.stream.read(BODY_MAXIMUM + 1)
    if len(body) > BODY_MAXIMUM:
        raise TooLarge(f"the body is larger than {BODY_MAXIMUM} bytes")
    return strict_json.parse(body)
