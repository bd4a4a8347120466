"""How endpoints are declared: what each takes, answers and needs, in one table.

The table makes the routes, decides who may call them, and is what the OpenAPI document and
``plugind acl explain`` are made from. So none of these can drift from the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from marshmallow import Schema

from plugind.acl import Acl, Authorizer, Caller, Decision
from plugind.acl.authorizer import ALLOWED, NO_RULE
from plugind.api.query import Query
from plugind.api.reply import Reply
from plugind.api.shapes import TEXT, Shape
from plugind.catalogue import Catalogue, Reading
from plugind.catalogue.rendering import array
from plugind.config.settings import Settings
from plugind.filtering import Fields
from plugind.intake import Intake
from plugind.liveness import Liveness
from plugind.model import SETTLED
from plugind.plugin_schemas import PluginSchemas
from plugind.registry import Registry
from plugind.store.base import FIRST_INDEX

Health = tuple[bool, str]
"""Whether all is well, and a message: "ok", or what is not."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a running server that views reach.

    ``schemas`` and ``row_fields`` are by plugin type. ``acl`` gives the policies and tokens in
    force now; ``checks`` and ``stats`` are by role of the process ("server", "client");
    ``address`` is HOST:PORT. ``openapi`` gives the OpenAPI document, ``type_rows`` what is told of
    the plugin types.
    """

    settings: Settings
    registry: Registry
    catalogue: Catalogue
    intake: Intake
    liveness: Liveness
    schemas: Mapping[str, PluginSchemas]
    row_fields: Mapping[str, Fields]
    acl: Callable[[], Acl]
    checks: Mapping[str, Callable[[], Health]]
    stats: Mapping[str, Callable[[], Mapping[str, str]]]
    address: str
    openapi: Callable[[], bytes]
    type_rows: Callable[[], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for, as far as rights go: who asks, the parts of its path and its query.

    ``types`` are the plugin types that there are. ``shows_secret``: it comes with a node's secret,
    right or wrong.
    """

    caller: Caller
    types: Collection[str]
    path: Mapping[str, str]
    query: Mapping[str, str]
    shows_secret: bool = False

    @property
    def namespace(self) -> str:
        return self.query.get("namespace") or "default"


@dataclass(frozen=True, slots=True)
class Call:
    """A request that may be answered: by whom, for what, and the parts to answer it from.

    ``acl`` has the policies and tokens that it was allowed by, which a reload does not change any
    more. ``secret`` is the one that the caller showed, "" for none.
    """

    parts: Parts
    acl: Acl
    authorizer: Authorizer
    asked: Asked
    query: Query
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Source:
    """What a read reads: a resource that may be waited for, and how to look at it.

    ``missing`` is the text for one that does not exist; ``fields`` describe a list's rows.
    ``personal``: what is answered depends on who asks, so nobody may keep it.
    """

    resource: str
    look: Callable[[], Reading]
    missing: str = ""
    fields: Fields | None = None
    personal: bool = False


def settled_list(values: Iterable[Mapping[str, Any]], schema: Schema, fields: Fields) -> Source:
    """A list of what has a Name, in the order of these; no change touches it, and it is another for
    each who asks."""
    rows = {
        row["Name"]: orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in schema.dump(values)
    }
    reading = Reading(FIRST_INDEX, array(rows.values()), tuple(rows.items()))
    return Source(SETTLED, lambda: reading, fields=fields, personal=True)


Need = Callable[[Authorizer, Asked], Decision]
View = Callable[..., "Reply | Source"]


def anyone(authorizer: Authorizer, asked: Asked) -> Decision:
    """No right, but a token that is wrong is refused all the same."""
    return ALLOWED


def no_token(authorizer: Authorizer, asked: Asked) -> Decision:
    """No token; one that is given is not looked at."""
    return ALLOWED


def management(authorizer: Authorizer, asked: Asked) -> Decision:
    """A management token."""
    return authorizer.may_manage()


def any_of(decisions: Iterable[Decision]) -> Decision:
    """The first decision that allows, else the first."""
    return max(decisions, key=lambda decision: decision.allowed, default=NO_RULE)


def may_list_any(authorizer: Authorizer, asked: Asked) -> Decision:
    """The capability `TYPE-list-plugin` of any type, or the `plugin` policy `list` or `read`."""
    return any_of(authorizer.may_list(type_, asked.namespace) for type_ in asked.types)


def node_read(authorizer: Authorizer, asked: Asked) -> Decision:
    """The `node` policy `read` or `write`."""
    return authorizer.may_read_nodes()


def agent_read(authorizer: Authorizer, asked: Asked) -> Decision:
    """The `agent` policy `read` or `write`."""
    return authorizer.may_read_agent()


@dataclass(frozen=True, slots=True)
class Given:
    """A parameter or header that a request may give, or must."""

    help: str
    shape: Shape = field(default_factory=lambda: TEXT)
    required: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path. ``view`` is called with a Call and the path's parts by name.

    What ``need`` asks for is told to people by its docstring. ``reads``: it takes the parameters of
    every read. ``parameters`` are further ones, with what they do; they may be any text unless a
    Given says otherwise. ``errors`` are the statuses beside 200 and those that any endpoint may
    answer with; ``troubles`` are those that come with the same body as 200. ``decided_later`` says
    what its view asks for beside ``need``, which only the body tells.
    """

    method: str
    path: str
    view: View
    need: Need
    answer: Shape
    body: Shape | None = None
    reads: bool = False
    parameters: Mapping[str, str | Given] = field(default_factory=dict)
    headers: Mapping[str, Given] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    troubles: tuple[int, ...] = ()
    decided_later: str = ""

    @property
    def summary(self) -> str:
        """What it does, in one sentence."""
        return _words(self.view)[0]

    @property
    def about(self) -> str:
        """What else there is to say of it; "" when nothing is."""
        return "\n\n".join(_words(self.view)[1:])

    @property
    def needed(self) -> str:
        """What the policies must allow the caller."""
        return "\n\n".join(_words(self.need))


def _words(told: Callable[..., Any]) -> list[str]:
    """The paragraphs of a docstring, each in one line."""
    return [" ".join(part.split()) for part in (told.__doc__ or "").split("\n\n")]


class Endpoints:
    """A table of endpoints, filled by decorating their views."""

    def __init__(self) -> None:
        self.table: list[Endpoint] = []

    def __call__(
        self, method: str, path: str, *, need: Need, answer: Shape, **more: Any
    ) -> Callable[[View], View]:
        def declare(view: View) -> View:
            self.table.append(Endpoint(method, path, view, need, answer, **more))
            return view

        return declare

    def read(self, path: str, *, need: Need, answer: Shape, **more: Any) -> Callable[[View], View]:
        """A GET that returns a Source: it may block, and takes the parameters of every read."""
        return self("GET", path, need=need, answer=answer, reads=True, **more)
