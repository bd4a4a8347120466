"""The query parameters that every read takes, declared once."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import request
from marshmallow import EXCLUDE, ValidationError, fields

from plugind.errors import BadRequest
from plugind.fields import SECOND, Record, parse_bool, parse_duration

WAIT_DEFAULT = 300.0
WAIT_MAXIMUM = 600.0
_WAIT_SPREAD = 1 / 16  # of the wait, added at random so that clients do not come back all at once
_UINT64_MAX = 2**64 - 1


class _Parameter(fields.Field[Any]):
    """A parameter read by a function, which raises ValueError, with one text for any mistake."""

    def __init__(self, read: Callable[[str], Any], error: str, default: Any, help: str) -> None:
        super().__init__(load_default=default, metadata={"description": help})
        self._read = read
        self._error = error

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return self._read(value)
        except ValueError as error:
            raise ValidationError(self._error) from error


def _unsigned(text: str) -> int:
    if not text:
        return 0
    if not re.fullmatch("[0-9]{1,20}", text) or int(text) > _UINT64_MAX:
        raise ValueError(text)
    return int(text)


def _wait(text: str) -> float:
    seconds = parse_duration(text) / SECOND if text else 0.0
    return min(seconds, WAIT_MAXIMUM) if seconds > 0 else WAIT_DEFAULT


def _bool(text: str) -> bool:
    return not text or parse_bool(text)  # "?stale" means true


@dataclass(frozen=True, slots=True)
class Query:
    """What a read was asked for; ``wait`` is in seconds."""

    index: int
    wait: float
    stale: bool
    per_page: int
    reverse: bool
    region: str

    @property
    def timeout(self) -> float:
        """How long to wait this time."""
        return self.wait + random.uniform(0, self.wait * _WAIT_SPREAD)


class QuerySchema(Record):
    """In the order in which mistakes are told; parameters that are not declared are ignored."""

    record = Query

    class Meta:
        unknown = EXCLUDE

    index = _Parameter(
        _unsigned, "Invalid index", 0, "answer once the resource's index is greater than this"
    )
    wait = _Parameter(
        _wait, "Invalid wait time", WAIT_DEFAULT, "how long to wait at most, such as 30s or 5m"
    )
    stale = _Parameter(_bool, "Invalid stale: it is true or false", False, "any server may answer")
    per_page = _Parameter(_unsigned, "Invalid per_page: it is a whole number", 0, "rows a page")
    reverse = _Parameter(_bool, "Invalid reverse: it is true or false", False, "from the last row")
    region = _Parameter(str, "", "", "the server's region")


_SCHEMA = QuerySchema()


def read_query(region: str) -> Query:
    """The query of the current request. Raises BadRequest for its first mistake, and for a region
    other than the server's."""
    arguments: Mapping[str, str] = request.args.to_dict()
    try:
        query: Query = _SCHEMA.load(arguments)
    except ValidationError as error:
        first = next(name for name in _SCHEMA.fields if name in error.messages_dict)
        raise BadRequest(error.messages_dict[first][0]) from error
    if query.region not in ("", region):
        raise BadRequest("No path to region")
    return query
