"""The replies that views return, and how they are rendered for sending."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

import orjson
from werkzeug.http import parse_accept_header, parse_etags

from plugind.acl import Acl
from plugind.api.forms import PACKED_MINIMUM, gzipped, pretty
from plugind.api.request import Request, Stream
from plugind.catalogue.rendering import Listing
from plugind.catalogue.views import V
from plugind.model import IN_CONTACT, Contact
from plugind.model.values import Value
from plugind.printable import ascii_line, one_line

CACHE_CONTROL = "private, no-cache"
"""Sent with every answer that sets no other. It lets clients distinguish plugind's own 503 from a
proxy's."""

JSON = "application/json"
KNOWN_LEADER, LAST_CONTACT = "X-Nomad-KnownLeader", "X-Nomad-LastContact"
_TEXT = "text/plain; charset=utf-8"
PHRASES = {each.value: each.phrase for each in HTTPStatus} | {499: "Client Closed Request"}
"""The reason phrase of each status."""


def status_line(status: int) -> str:
    """Return the status line in WSGI's form."""
    return f"{status} {PHRASES.get(status, 'Unknown')}"


class Keep(Protocol):
    """A function that returns a view of ``base``: a kept one, or a new one from ``make``."""

    def __call__(self, base: object, view: Hashable, make: Callable[[], V], /) -> V: ...


def made_now(base: object, view: Hashable, make: Callable[[], V]) -> V:
    """Make a view, and do not keep it."""
    return make()


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms on which an answer may be given again: ``resource`` has this ``index``, ``acl`` is
    in force, and the caller's token has not reached ``expires`` (nanoseconds since 1970; None:
    never). ``stale``: even if other servers may have changed the resource."""

    resource: str
    index: int
    acl: Acl
    expires: int | None
    stale: bool


class Reply(Value, frozen=True):
    """An answer: a body of ``content_type``, and the index that it is from (None: it has none).

    The body is whole, or parts that are made while it is sent, or a stream. ``accessor`` is that of
    a token that only the view found, for the access log. ``version`` identifies the body's sources,
    for the ETag; "" for none. ``keep`` returns other forms of the body, and keeps them for other
    clients. ``terms`` are those on which the same request may get this answer again; None if it may
    not.
    """

    body: bytes | Listing | Iterable[bytes] | Stream
    status: int = 200
    index: int | None = None
    content_type: str = JSON
    headers: Mapping[str, str] = {}
    version: str = ""
    keep: Keep = made_now
    accessor: str = ""
    terms: Terms | None = None


def json_reply(value: Any, index: int | None = None) -> Reply:
    """Return a value as a JSON answer, with sorted keys and no spaces."""
    return Reply(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), index=index)


def error_reply(
    text: str, status: int, index: int | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """Return an error's answer: one line of text."""
    body = one_line(text).encode()
    return Reply(body, status, index, _TEXT, headers or {})


class Rendered(NamedTuple):
    """An answer as it is sent; a body in parts is made while it is sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes | Iterable[bytes]


def rendered(reply: Reply, request: Request, contact: Contact = IN_CONTACT) -> Rendered:
    """Return a reply in the form that a request asks for: pretty, packed with gzip, or without the
    body if the client has it already (RFC 9110, sections 12.5.3 and 13.1.2).

    A body in parts is sent as it is, neither indented nor packed. ``contact`` is the server's
    contact with the store that the index is from.
    """
    headers = {"Vary": "Accept-Encoding", "Cache-Control": CACHE_CONTROL}
    if reply.index is not None:
        headers["X-Nomad-Index"] = str(reply.index)
        headers.update(contact_headers(contact))
    headers.update(reply.headers)
    body = reply.body
    assert not isinstance(body, Stream), "a server makes parts of a stream before it is sent"
    is_whole = isinstance(body, bytes | Listing)
    # As in Nomad: "pretty" alone is enough, and 0 turns it off.
    is_pretty = is_whole and reply.content_type == JSON and request.query.get("pretty", "0") != "0"
    accepted = request.header("Accept-Encoding")
    is_packed = (
        bool(accepted)
        and isinstance(body, bytes | Listing)
        and len(body) >= PACKED_MINIMUM
        and parse_accept_header(accepted).quality("gzip") > 0
    )
    if reply.version:
        tag = reply.version + "-pretty" * is_pretty + "-gzip" * is_packed
        headers["ETag"] = f'"{tag}"'
        known = request.header("If-None-Match")
        if known and parse_etags(known).contains_weak(tag):
            return _rendered(304, headers, b"")
    if reply.content_type:
        headers["Content-Type"] = reply.content_type
    if is_packed:
        headers["Content-Encoding"] = "gzip"
    if isinstance(body, bytes | Listing):
        body = _formed(body, reply.keep, is_pretty, is_packed)
    return _rendered(reply.status, headers, body)


def contact_headers(contact: Contact) -> dict[str, str]:
    """Return the headers about the server's contact with the store that the index is from."""
    return {
        KNOWN_LEADER: "true" if contact.is_known else "false",
        LAST_CONTACT: str(round(contact.age * 1000)),
    }


def _formed(body: bytes | Listing, keep: Keep, is_pretty: bool, is_packed: bool) -> bytes:
    """Return a body in the requested form."""
    if is_packed:
        made = partial(_formed, body, keep, is_pretty, False)
        return keep(body, ("gzip", is_pretty), lambda: gzipped(made()))
    if is_pretty:
        return keep(body, "pretty", lambda: pretty(body))
    return body.body if isinstance(body, Listing) else body


def _rendered(status: int, headers: Mapping[str, str], body: bytes | Iterable[bytes]) -> Rendered:
    safe = {name: ascii_line(value) for name, value in headers.items()}
    return Rendered(status, safe, body)
