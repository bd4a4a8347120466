"""``/ui/events``: has open pages look again when something changed, by Server-Sent Events.

It sends no more than the index of the last change. A page then asks for itself, so that it shows
what its caller may see.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from functools import partial

from plugind.acl import Authorizer, Decision
from plugind.acl.authorizer import ANY_NAMESPACE
from plugind.api.endpoints import Asked, Call, any_of
from plugind.api.events import CHECK_EVERY, HEARTBEAT, SSE, STREAM_HEADERS
from plugind.api.reply import Reply
from plugind.api.request import Pause, Stream
from plugind.catalogue.waiting import Holder
from plugind.errors import Forbidden
from plugind.events.broker import Consumer
from plugind.ui.pages import HTML, Pages
from plugind.ui.parts import UiParts
from plugind.ui.session import caller_of

RETRY = (2_000, 6_000)
"""Milliseconds after which a browser connects again: at random, so that not all come at once."""

endpoints = Pages()


def _may_see_anything(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require a right to list or read plugins of any type, to read nodes, or to read the agent."""
    decisions = [
        decide(type_, ANY_NAMESPACE)
        for type_ in sorted(asked.types)
        for decide in (authorizer.may_list, authorizer.may_read)
    ]
    return any_of([*decisions, authorizer.may_read_nodes(), authorizer.may_read_agent()])


@endpoints("GET", "/ui/events", need=_may_see_anything, answer=HTML, caller=caller_of)
def follow_changes(call: Call[UiParts]) -> Reply:
    """Send the index of the last change, each time that it grew."""
    if call.request.method == "HEAD":
        return Reply(b"", content_type=SSE, headers=STREAM_HEADERS)
    accessor = call.asked.caller.accessor
    broker, holder = call.parts.broker, Holder(accessor or call.request.client, bool(accessor))
    consumer = broker.open(None, holder)
    close = partial(broker.close_consumer, consumer)
    return Reply(Stream(_parts(call, consumer), close), content_type=SSE, headers=STREAM_HEADERS)


def _parts(call: Call[UiParts], consumer: Consumer) -> Iterator[bytes | Pause]:
    """Yield the events of a browser's stream until it is ended, or its caller's rights are."""
    yield b"retry: %d\n\n" % random.randint(*RETRY)
    call.parts.broker.begin(consumer)
    shown, alive_at = consumer.index, time.monotonic()
    while not consumer.ended:
        signal = call.parts.signal()
        consumer.wake = signal.set  # before the look, so that no change comes between unnoticed
        try:
            call.check()
        except Forbidden:
            return
        if consumer.index > shown:
            shown = consumer.index
            yield b'event: change\ndata: {"Index":%d}\n\n' % shown
        elif time.monotonic() >= alive_at:
            alive_at = time.monotonic() + HEARTBEAT
            yield b"event: alive\ndata: {}\n\n"
        else:
            yield Pause(signal, CHECK_EVERY, ends_with_client=True)
