"""Shares what clients may use by token, else by address."""

from __future__ import annotations

from contextlib import suppress

from plugind.acl import Acl
from plugind.api.request import Request
from plugind.catalogue.waiting import Holder
from plugind.errors import TokenNotFound
from plugind.wire.addresses import party_of


def holder_of(request: Request, acl: Acl, now: int) -> Holder:
    """Return the token or address that a request counts for, at a time in nanoseconds since 1970.

    A token that is not valid counts as none, as all do while ACLs are off.
    """
    accessor = ""
    if secret := request.secret:
        with suppress(TokenNotFound):
            accessor = acl.caller(secret, now).accessor
    return Holder(accessor or request.client, bool(accessor))


def stream_holder_of(request: Request, acl: Acl, now: int) -> Holder:
    """Return the token or party that a stream counts for: places of streams are few, and held for
    long, so that a client gets none more by another address of its network."""
    holder = holder_of(request, acl, now)
    return holder if holder.has_token else Holder(party_of(request.client))
