"""The query parameters of every read, declared once."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from marshmallow import EXCLUDE, ValidationError, fields

from plugind.errors import BadRequest
from plugind.model.times import SECOND, parse_duration
from plugind.wire.fields import Record, parse_bool

OF_LISTS = frozenset({"filter", "next_token", "per_page", "prefix", "reverse"})
"""The parameters that only lists use."""

WAIT_DEFAULT = 300.0
WAIT_MAXIMUM = 600.0
_WAIT_SPREAD = 1 / 16  # of the wait, the most added at random: clients do not all come back at once
_UINT64_MAX = 2**64 - 1


class Parameter(fields.Field[Any]):
    """A parameter that ``read`` converts; ``error`` is the message for any ValueError it raises.

    ``schema`` describes the parameter as OpenAPI does.
    """

    def __init__(
        self,
        read: Callable[[str], Any],
        default: Any,
        help: str,
        schema: Mapping[str, Any],
        error: str = "",
    ) -> None:
        super().__init__(load_default=default, metadata={"description": help, "schema": schema})
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


_UNSIGNED = {"type": "integer", "minimum": 0, "maximum": _UINT64_MAX}
_FLAG = {"type": "boolean"}
_STRING = {"type": "string"}


def text(help: str) -> Parameter:
    """Return a parameter that may be any text."""
    return Parameter(str, "", help, _STRING)


def flag(name: str, help: str) -> Parameter:
    """Return a boolean parameter; its name alone means true."""
    return Parameter(_bool, False, help, _FLAG, _no_flag(name))


def read_flag(arguments: Mapping[str, str], name: str) -> bool:
    """Return the value of a boolean parameter of an endpoint's own. Raise BadRequest."""
    try:
        return _bool(arguments.get(name, "false"))
    except ValueError as error:
        raise BadRequest(_no_flag(name)) from error


def _no_flag(name: str) -> str:
    return f"Invalid {name}: it is true or false"


@dataclass(frozen=True, slots=True)
class Query:
    """The query of a read; ``wait`` is in seconds."""

    index: int
    wait: float
    stale: bool
    per_page: int
    reverse: bool
    consistent: str
    next_token: str
    prefix: str
    filter: str
    namespace: str
    region: str
    pretty: str

    @property
    def timeout(self) -> float:
        """Return how many seconds to wait, with a new random part each time."""
        return self.wait + random.uniform(0, self.wait * _WAIT_SPREAD)


class QuerySchema(Record):
    """The parameters, in the order in which mistakes are reported; others are ignored."""

    record = Query

    class Meta:
        unknown = EXCLUDE

    index = Parameter(
        _unsigned,
        0,
        "answer once the resource's index is greater than this",
        _UNSIGNED,
        "Invalid index",
    )
    wait = Parameter(
        _wait,
        WAIT_DEFAULT,
        "how long to wait at most, such as 30s or 5m; 10m at most",
        {"type": "string", "pattern": r"^(-?([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+|0)?$"},
        "Invalid wait time",
    )
    stale = flag("stale", "any server may answer")
    per_page = Parameter(
        _unsigned,
        0,
        "rows per page; X-Nomad-NextToken has the next_token of the next page",
        _UNSIGNED,
        "Invalid per_page: it is a whole number",
    )
    reverse = flag("reverse", "from the last row to the first")
    consistent = text("accepted as Nomad does; every answer is consistent")
    next_token = text("the page that begins with this ID")
    prefix = text("only rows whose ID begins with this")
    filter = text("only rows that this expression is true of")
    namespace = text("the namespace whose capabilities count; * for any")
    region = text("the server's region; another is refused")
    pretty = text("indent the answer; 0 turns this off")


_SCHEMA = QuerySchema()


CACHED_LENGTH = 256
"""Characters of the longest query that is kept, once parsed, for requests with the same query."""


def read_query(arguments: Mapping[str, str], region: str) -> Query:
    """Return the query of a request. Raise BadRequest for its first mistake, and for a region other
    than the server's."""
    items = tuple(arguments.items())
    is_short = sum(len(name) + len(value) for name, value in items) <= CACHED_LENGTH
    query = _cached(items) if is_short else _load(items)
    if query.region not in ("", region):
        raise BadRequest("No path to region")
    return query


def _load(items: tuple[tuple[str, str], ...]) -> Query:
    try:
        query: Query = _SCHEMA.load(dict(items))
    except ValidationError as error:
        first = next(name for name in _SCHEMA.fields if name in error.messages_dict)
        raise BadRequest(error.messages_dict[first][0]) from error
    return query


_cached = lru_cache(maxsize=256)(_load)
