"""Answers repeated reads of unchanged resources with kept answers, before they reach the flow.

The key of a kept answer has every part of the request that the answer depends on. It is given again
only on its terms: the resource has the same index, the same policies and tokens are in force, the
token has not expired, and the state is as new as the read requires. So no client gets an answer
that the flow would not give at that moment. Only answers with a version are kept: no errors, and
none that is for one caller alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

from plugind.acl import Acl
from plugind.acl.tokens import digest
from plugind.api.exchange import Exchange
from plugind.api.notes import Noted, Notes
from plugind.api.query import Query
from plugind.api.reply import KNOWN_LEADER, LAST_CONTACT, Rendered, Terms, contact_headers
from plugind.api.request import Request
from plugind.api.turns import Turns
from plugind.catalogue import Catalogue
from plugind.catalogue.answers import Answers
from plugind.model import IN_CONTACT

KEY_MAXIMUM = 1024
"""Most characters of a key, which clients choose; ``Answers`` allows for that many."""

F = TypeVar("F")

Text = str | bytes
"""A part of a request, in the type that its HTTP server uses."""

OF_WAITS = ("index", "wait")
"""The parameters for the wait of a blocking query: after which index, and for how long."""

_USUAL = contact_headers(IN_CONTACT)
_OF_CONTACT = (KNOWN_LEADER, LAST_CONTACT)


def key_of(
    method: str,
    target: Text,
    query: Text,
    encoding: Text,
    match: Text,
    token: Text,
    authorization: Text,
    shows_secret: bool,
) -> Hashable:
    """Return the key of a read: all parts of the request that the answer depends on. Return None if
    the request is not a read, or so long that its key would take more memory than most answers.

    ``target`` is the path and ``query`` the query, as they were sent; ``target`` may have both. The
    other arguments are the values of the headers Accept-Encoding, If-None-Match, X-Nomad-Token and
    Authorization, and whether there is a header with a node's secret. The key has tokens only as a
    hash.
    """
    if method not in ("GET", "HEAD"):
        return None
    if len(target) + len(query) + len(encoding) + len(match) > KEY_MAXIMUM:
        return None
    secrets = digest(f"{token!r}\n{authorization!r}") if token or authorization else b""
    return method, target, query, encoding, match, secrets, shows_secret


def key_once_woken(key: Hashable, request: Request) -> Hashable:
    """Return the key of the answer to a blocking query, given the key of the request. Queries that
    differ only in their index and wait have the same key."""
    assert isinstance(key, tuple)
    method, target, _, *rest = key
    parameters = tuple(each for each in request.parameters if each[0] not in OF_WAITS)
    return method, target, parameters, *rest


class Repeat:
    """An answer that may be given again on its terms; ``headers`` has none about the store.

    ``held_at`` is the index of the last state in which its resource was found unchanged.
    """

    __slots__ = ("_forms", "body", "headers", "held_at", "is_head", "noted", "status", "terms")

    def __init__(self, answer: Rendered, terms: Terms, noted: Noted, *, is_head: bool) -> None:
        self.status = answer.status
        self.headers = {
            name: value for name, value in answer.headers.items() if name not in _OF_CONTACT
        }
        self.body = cast(bytes, answer.body)
        self.is_head = is_head
        self.terms = terms
        self.noted = noted
        self.held_at = -1
        self._forms: dict[Any, Any] = {}

    def form(self, make: Callable[[Repeat], F]) -> F:
        """Return what a server's function makes of the answer; it is called once."""
        found = self._forms.get(make)
        if found is None:
            found = self._forms[make] = make(self)
        return cast(F, found)


class Repeats:
    """Keeps answers in the catalogue, and finds those that may be given again.

    ``acl`` returns the policies and tokens in force now; ``turns`` are those of costly reads.
    """

    def __init__(
        self, catalogue: Catalogue, acl: Callable[[], Acl], turns: Turns, notes: Notes
    ) -> None:
        self._catalogue = catalogue
        self._answers: Answers[Repeat] = catalogue.answers
        self._is_at_hand = not catalogue.has_other_servers
        self._acl = acl
        self._kept_by: Acl | None = None
        self._turns = turns
        self._notes = notes

    def keep(self, exchange: Exchange, terms: Terms | None, answer: Rendered, path: str) -> None:
        """Keep the answer to a request, if its terms allow that; ``path`` is as for
        ``Notes.answered``."""
        if exchange.key is None or terms is None:
            return
        exchange.may_be_kept = True
        if not terms.stale and self._catalogue.has_other_servers:
            return  # only another machine knows whether it may be given again
        if terms.acl is not self._kept_by:  # answers under the earlier one are void
            self._answers.clear()
            self._kept_by = terms.acl
        noted = self._notes.noted(exchange, path, answer.status, terms.index)
        repeat = Repeat(answer, terms, noted, is_head=exchange.request.method == "HEAD")
        self._answers.put(exchange.key, repeat, terms.resource, len(repeat.body))

    def find(self, key: Hashable, *, has_waited: bool = False) -> Repeat | None:
        """Return the kept answer to a request with this key, None if the flow has to make it. Never
        block, so that the thread of a server's event loop can call this.

        ``has_waited``: an answer to the same request was found before, and the request has been
        parked since. The state was as new as the read requires then, and only moves forward.
        """
        repeat = self._answers.get(key)
        if repeat is None:
            return None
        terms = repeat.terms
        if terms.acl is not self._acl():
            return None
        if terms.expires is not None and time.time_ns() >= terms.expires:
            return None
        is_fresh = terms.stale or has_waited
        state = self._catalogue.state if is_fresh else self._catalogue.fresh_state()
        if state is None:
            return None
        if repeat.held_at != state.index:
            if state.changed_at(terms.resource) != terms.index:
                return None
            repeat.held_at = state.index
        return repeat

    def may_park(self, query: Query) -> bool:
        """Return whether a blocking query that has a kept answer may be parked at once: no other
        machine has to be asked."""
        if query.stale:
            return query.index <= self._catalogue.index  # another server may know a later one
        return not self._catalogue.has_other_servers

    def contact_headers(self) -> dict[str, str]:
        """Return the headers about the store, which an answer has in addition to its own. If no
        other server shares the store, they are the same object each time."""
        if self._is_at_hand:
            return _USUAL
        return contact_headers(self._catalogue.contact)

    def given(self, repeat: Repeat, remote: str, began: float) -> None:
        """Note that an answer is given again, to the address ``remote``, for a request that began
        at ``began`` (monotonic clock)."""
        now = time.monotonic()
        self._turns.saw_plain(now)
        self._notes.repeated(repeat.noted, remote, now - began)

    def given_after_wait(
        self, repeat: Repeat, request: Request, seconds: float, parked: float
    ) -> None:
        """Note that an answer was given again to a blocking query, which took ``seconds`` in all
        and was parked for ``parked`` of them."""
        self._turns.saw_woken(time.monotonic())
        self._notes.repeated_after_wait(repeat.noted, request, seconds, parked)
