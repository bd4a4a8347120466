"""``/ui/events``: notifies open pages of changes by Server-Sent Events (HTML, section 9.2)."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from functools import partial

from plugind.api.endpoints import Call, Endpoints
from plugind.api.events import CHECK_EVERY, HEARTBEAT, SSE, STREAM_HEADERS
from plugind.api.reply import Reply
from plugind.api.request import Pause, Stream
from plugind.catalogue.waiting import Holder
from plugind.errors import Forbidden
from plugind.model import NODES, plugins_of
from plugind.ui.changes import Follower
from plugind.ui.parts import UiParts
from plugind.ui.session import caller_of
from plugind.ui.sight import Sight, see_anything
from plugind.wire.addresses import party_of

CALM = 0.2
"""Least seconds between two change events, however much changes."""

RETRY = (2_000, 6_000)
"""Range of milliseconds before a browser reconnects; random, so that not all do so at once."""

endpoints = Endpoints(UiParts)


@endpoints(
    "GET",
    "/ui/events",
    need=see_anything,
    answer={"type": "string"},
    content_type=SSE,
    caller=caller_of,
    errors=(429,),
)
def page_events(call: Call[UiParts]) -> Reply:
    """Send an event each time something changes that the caller may see."""
    request, changes = call.request, call.parts.changes
    if request.method == "HEAD":
        return Reply(b"", content_type=SSE, headers=STREAM_HEADERS)
    follower = changes.open(Holder(party_of(request.client)))
    stream = Stream(_parts(call, follower), partial(changes.close, follower))
    return Reply(stream, content_type=SSE, headers=STREAM_HEADERS)


def _parts(call: Call[UiParts], follower: Follower) -> Iterator[bytes | Pause]:
    """Yield the events of a stream, with pauses between them, until its place is taken away."""
    yield b"retry: %d\nevent: alive\ndata:\n\n" % random.randint(*RETRY)
    alive_at, caller = time.monotonic() + HEARTBEAT, call.asked.caller
    while not follower.has_ended:
        signal = call.parts.signal()
        follower.wake = signal.set  # before take(), so that no change in between is missed
        changed = follower.take()
        try:
            now = call.check()
        except Forbidden:  # the next request says why
            return
        if changed & _seen(now) or now.asked.caller != caller:
            caller = now.asked.caller
            yield b"event: change\ndata: %d\n\n" % call.parts.catalogue.index
            yield Pause(call.parts.signal(), CALM, ends_with_client=True)
        elif time.monotonic() >= alive_at:
            yield b"event: alive\ndata:\n\n"
            alive_at = time.monotonic() + HEARTBEAT
        else:
            yield Pause(signal, CHECK_EVERY, ends_with_client=True)


def _seen(call: Call[UiParts]) -> set[str]:
    """Return the lists that the caller may see at least a part of."""
    sight = Sight.of(call.authorizer, call.asked.types)
    return {plugins_of(each) for each in sight.lists | sight.reads} | (
        {NODES} if sight.nodes else set()
    )
