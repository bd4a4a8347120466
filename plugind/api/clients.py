"""Decides whose share a request counts towards: its token's, else its client address's."""

from __future__ import annotations

from contextlib import suppress

from plugind.acl import Acl
from plugind.api.request import Request
from plugind.catalogue.waiting import Holder
from plugind.errors import TokenNotFound
from plugind.wire.addresses import party_of


def holder_of(request: Request, acl: Acl, now: int) -> Holder:
    """Return the token or address that a request counts towards. ``now`` is in nanoseconds since
    1970.

    An invalid token counts as no token, and so does every token while ACLs are off.
    """
    accessor = ""
    if secret := request.secret:
        with suppress(TokenNotFound):
            accessor = acl.caller(secret, now).accessor
    return Holder(accessor or request.client, bool(accessor))


def stream_holder_of(request: Request, acl: Acl, now: int) -> Holder:
    """Return the token or party that a stream counts towards. Streams have few places, and hold
    them for long, so a client gets no more of them by using other addresses of its network."""
    holder = holder_of(request, acl, now)
    return holder if holder.has_token else Holder(party_of(request.client))
