"""Declares endpoints in one table: their parameters, answers, and the rights that they need.

The routes, the checks of rights, the OpenAPI document and ``plugind acl explain`` are all made from
this table, so they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Concatenate, Generic, TypeVar

import orjson
from marshmallow import Schema

from plugind.acl import Acl, Authorizer, Caller, Decision
from plugind.acl.authorizer import ALLOWED, NO_RULE
from plugind.api.query import Query
from plugind.api.reply import JSON, Reply
from plugind.api.request import Request, Signal, Steps
from plugind.api.rows import Beyond
from plugind.api.shapes import TEXT, Shape
from plugind.api.turns import Turn
from plugind.catalogue import Reading
from plugind.catalogue.rendering import Listing
from plugind.filtering import Fields
from plugind.model import SETTLED
from plugind.model.values import Value
from plugind.store.base import FIRST_INDEX

P = TypeVar("P")

SMALL_BODY = 16 * 2**10
LARGE_BODY = 8 * 2**20
"""Most bytes of a request body: for most calls, and for a node's whole report."""


class Asked(Value, frozen=True):
    """The parts of a request that rights depend on: its caller, path and query.

    ``types`` are the names of all plugin types. ``shows_secret``: the request carries a node's
    secret, right or wrong. ``parameters`` are the query parameters with all their values.
    ``has_public_metrics``: the server is configured to let everybody read metrics.
    """

    caller: Caller
    types: Collection[str]
    path: Mapping[str, str]
    query: Mapping[str, str]
    shows_secret: bool = False
    parameters: Sequence[tuple[str, str]] = ()
    has_public_metrics: bool = False

    @property
    def namespace(self) -> str:
        return self.query.get("namespace") or "default"


class Call(Value, Generic[P], frozen=True):
    """A request that is allowed, and the ``parts`` of the server that its endpoint's group needs.

    ``acl`` has the policies and tokens that allowed it, which a later reload does not change.
    ``secret`` is that of its token, "" for none. ``body_maximum`` is the most bytes that its body
    may have. ``check`` returns the same call under the policies and tokens in force now, and raises
    Forbidden or TokenNotFound if the request is no longer allowed. A stream takes its costly parts
    in ``turn``, and a view that waits makes the signals for its pauses with ``signal``.
    """

    parts: P
    request: Request
    acl: Acl
    authorizer: Authorizer
    asked: Asked
    query: Query
    turn: Turn
    check: Callable[[], Call[P]]
    signal: Callable[[], Signal]
    secret: str = ""
    body_maximum: int = SMALL_BODY

    def __repr__(self) -> str:
        """Return a text without the token's secret."""
        return f"Call({self.request!r})"

    @property
    def holder(self) -> str:
        """Return who takes the request's turns: its token's accessor, else its client's address."""
        return (self.secret and self.asked.caller.accessor) or self.request.client

    def document(self) -> object:
        """Return the body, parsed as JSON. Raise BadRequest or TooLarge."""
        return self.request.document(self.body_maximum)


@dataclass(frozen=True, slots=True)
class Source:
    """The source of a read: a resource that a query may wait for, and ``look``, which reads it.

    ``missing`` is the error's text if it does not exist; ``fields`` are those that a filter of a
    list may use, and ``beyond`` finds the values that the list's rows lack. ``personal``: the
    answer depends on the caller, so no cache may keep it. ``is_kept``: the server keeps what it
    makes from the objects that ``look`` returns, which stay the same until the resource changes.
    ``headers`` are additional headers of the answer.
    """

    resource: str
    look: Callable[[], Reading]
    missing: str = ""
    fields: Fields | None = None
    beyond: Beyond | None = None
    personal: bool = False
    is_kept: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)


def settled_list(
    values: Iterable[Mapping[str, Any]], schema: Schema, fields: Fields, key: str = "Name"
) -> Source:
    """Return the source of a list, sorted by ``key``, that no change of the catalogue affects and
    that depends on the caller."""
    rows = {row[key]: orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in schema.dump(values)}
    reading = Reading(FIRST_INDEX, Listing(sorted(rows.items())))
    return Source(SETTLED, lambda: reading, fields=fields, personal=True)


def settled_value(value: Any, missing: str) -> Source:
    """Return the source of a value that no change of the catalogue affects and that depends on the
    caller.

    If ``value`` is None, it does not exist, and ``missing`` is the error's text.
    """
    body = None if value is None else orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return Source(SETTLED, lambda: Reading(FIRST_INDEX, body), missing, personal=True)


Need = Callable[[Authorizer, Asked], Decision]
View = Callable[Concatenate[Call[P], ...], Reply | Source | Steps[Reply]]


def anyone(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require no right; but a request with an invalid token is refused."""
    return ALLOWED


def no_token(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require no token; one that is unknown or expired counts as none."""
    return ALLOWED


def management(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require a management token."""
    return authorizer.may_manage()


def any_of(decisions: Iterable[Decision]) -> Decision:
    """Return the first decision that allows, else the first; NO_RULE if there are none."""
    return max(decisions, key=lambda decision: decision.allowed, default=NO_RULE)


def may_list_any(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require the capability `TYPE-list-plugin` of any type in the namespace, or the `plugin`
    policy `list` or `read`."""
    return any_of(authorizer.may_list(type_, asked.namespace) for type_ in asked.types)


def node_read(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require the `node` policy `read` or `write`."""
    return authorizer.may_read_nodes()


def agent_read(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require the `agent` policy `read` or `write`."""
    return authorizer.may_read_agent()


@dataclass(frozen=True, slots=True)
class Given:
    """A parameter or header that a request may have, or must have."""

    help: str
    shape: Shape = field(default_factory=lambda: TEXT)
    required: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path. ``view`` is called with a Call, and the path's parts by name.

    The call has those ``parts`` of the server that are of this type. ``body_maximum`` is in bytes.
    The docstring of ``need`` describes the right that it requires. ``content_type`` is that of an
    ``answer`` that comes from a Source. ``reads``: it takes the parameters of every read.
    ``parameters`` are additional ones, with their meaning; they may be any text unless a Given says
    otherwise. ``errors`` are its error statuses, apart from those that any endpoint may answer
    with; ``troubles`` are statuses that have the same body as 200. ``decided_later`` names a right
    that depends on the body, which the view requires in addition to ``need``. ``check_size`` raises
    an error if a body has too many bytes to be worth reading. ``missing`` returns the rights that a
    caller lacks, in words, if these say more than the docstring of ``need``. ``other_types`` are
    media types of text that clients may request instead of JSON. ``caller`` finds out who sent a
    request, given the parts, if that is not only by a token in a header. ``refused`` turns an error
    into another answer, for people.
    """

    method: str
    path: str
    view: View[Any]
    parts: type[Any]
    need: Need
    answer: Shape
    content_type: str = JSON
    body: Shape | None = None
    body_maximum: int = SMALL_BODY
    reads: bool = False
    parameters: Mapping[str, str | Given] = field(default_factory=dict)
    headers: Mapping[str, Given] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    troubles: tuple[int, ...] = ()
    decided_later: str = ""
    check_size: Callable[[Call[Any], int], None] | None = None
    missing: Callable[[Authorizer, Asked], str] | None = None
    other_types: tuple[str, ...] = ()
    caller: Callable[[Any, Acl, Request], Caller] | None = None
    refused: Callable[[Request, Reply], Reply] | None = None

    @property
    def summary(self) -> str:
        """Return what the endpoint does, in one sentence."""
        return _paragraphs(self.view)[0]

    @property
    def about(self) -> str:
        """Return the rest of the endpoint's description, "" for none."""
        return "\n\n".join(_paragraphs(self.view)[1:])

    @property
    def needed(self) -> str:
        """Return what the policies must allow the caller."""
        return "\n\n".join(requirements(self.need))


def requirements(need: Need) -> list[str]:
    """Return what a need requires: its docstring's paragraphs, without the verb."""
    first, *more = _paragraphs(need)
    first = first.removeprefix("Require ")
    return [first[:1].upper() + first[1:], *more]


def _paragraphs(of: Callable[..., Any]) -> list[str]:
    """Return the paragraphs of a docstring, each on one line."""
    return [" ".join(part.split()) for part in (of.__doc__ or "").split("\n\n")]


class Endpoints(Generic[P]):
    """A table of endpoints, filled by decorating views that all need the same ``parts``."""

    def __init__(self, parts: type[P]) -> None:
        self.table: list[Endpoint] = []
        self._parts = parts

    def __call__(
        self, method: str, path: str, *, need: Need, answer: Shape, **more: Any
    ) -> Callable[[View[P]], View[P]]:
        """Return a decorator that declares a view's endpoint; ``more`` has its other fields."""

        def declare(view: View[P]) -> View[P]:
            self.table.append(Endpoint(method, path, view, self._parts, need, answer, **more))
            return view

        return declare

    def read(
        self, path: str, *, need: Need, answer: Shape, **more: Any
    ) -> Callable[[View[P]], View[P]]:
        """Declare a GET that returns a Source: it may block, and takes the parameters of reads."""
        return self("GET", path, need=need, answer=answer, reads=True, **more)
