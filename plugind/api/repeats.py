"""Answers reads that ask again for what has not changed, before they come to the flow of requests.

An answer is kept by all of the request that it depends on, and given again only on its terms: the
resource has the same index, the same policies and tokens are in force, the token has not expired,
and the state is as new as the read has to be. So nobody gets what the flow would not give at that
moment. Only answers with a version are kept, so no errors, and none that is of the caller alone.
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
"""Characters of a key, which clients choose; ``Answers`` allows for as many."""

F = TypeVar("F")

Text = str | bytes
"""A part of a request as its server has it."""

OF_WAITS = ("index", "wait")
"""The parameters that say for what a blocking query waits, and for how long."""

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
    """Return all of a request that the answer to a read depends on; None where it is no read, and
    where it is so long that it would take more memory than most answers.

    ``target`` is the path and ``query`` the query, as they were sent; ``target`` may have both. The
    rest are the values of the headers Accept-Encoding, If-None-Match, X-Nomad-Token and
    Authorization, and whether there is one with a node's secret. A token is only in it as a hash.
    """
    if method not in ("GET", "HEAD"):
        return None
    if len(target) + len(query) + len(encoding) + len(match) > KEY_MAXIMUM:
        return None
    secrets = digest(f"{token!r}\n{authorization!r}") if token or authorization else b""
    return method, target, query, encoding, match, secrets, shows_secret


def key_once_woken(key: Hashable, request: Request) -> Hashable:
    """Return what the answer to a blocking query is kept by, given the key of the request: those
    that wait for different indexes, and for how long, get the same."""
    assert isinstance(key, tuple)
    method, target, _, *rest = key
    parameters = tuple(each for each in request.parameters if each[0] not in OF_WAITS)
    return method, target, parameters, *rest


class Repeat:
    """An answer that may be given again on its terms; ``headers`` say nothing of the store.

    ``held_at`` is the index of the last state in which its resource had not changed.
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
        """Return the form that a server's function makes of the answer, made once."""
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
        """Keep the answer to a request, where its terms allow that; ``path`` is as for
        ``Notes.answered``."""
        if exchange.key is None or terms is None:
            return
        exchange.may_be_kept = True
        if not terms.stale and self._catalogue.has_other_servers:
            return  # whether it may be given again is known to another machine only
        if terms.acl is not self._kept_by:  # of those before it none is given any more
            self._answers.clear()
            self._kept_by = terms.acl
        noted = self._notes.noted(exchange, path, answer.status, terms.index)
        repeat = Repeat(answer, terms, noted, is_head=exchange.request.method == "HEAD")
        self._answers.put(exchange.key, repeat, terms.resource, len(repeat.body))

    def find(self, key: Hashable, *, has_waited: bool = False) -> Repeat | None:
        """Return the answer to a request with this key, None where the flow has to make it. Nothing
        here waits, so that it can be called in the thread of a server's loop.

        ``has_waited``: an answer to the same request was found before, and the request has been
        parked since. The state was as new as the read has to be then, and only moves forward.
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
        """Return whether a blocking query may wait from an answer that is kept: nothing has to be
        asked of another machine for it."""
        if query.stale:
            return query.index <= self._catalogue.index  # another server may have given a later one
        return not self._catalogue.has_other_servers

    def contact_headers(self) -> dict[str, str]:
        """Return the headers that an answer has beside its own: the same object each time while the
        store is at hand."""
        if self._is_at_hand:
            return _USUAL
        return contact_headers(self._catalogue.contact)

    def given(self, repeat: Repeat, remote: str, began: float) -> None:
        """Note that an answer is given again, to the address ``remote``, for a request that began
        then (monotonic clock)."""
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
