"""``/v1/event/stream``: what changes, as it happens, in Nomad's form or as Server-Sent Events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import orjson

from plugind import logs
from plugind.acl import Authorizer, Decision
from plugind.acl.authorizer import ALLOWED
from plugind.api.clients import holder_of
from plugind.api.endpoints import Asked, Call, Endpoints, Given
from plugind.api.reply import Reply
from plugind.api.request import Pause, Signal, Stream
from plugind.api.shapes import EVENTS, NUMBER
from plugind.errors import BadRequest, Forbidden, PlugindError, TokenNotFound
from plugind.events.broker import Broker, Consumer
from plugind.events.event import NODE, PLUGIN
from plugind.events.making import topic_of
from plugind.events.topics import Topics
from plugind.model.times import INT64_MAX

HEARTBEAT = 10.0
"""Seconds between two heartbeats of a stream."""

CHECK_EVERY = 1.0
"""Seconds after which the rights of a stream that has no events are decided again."""

_NDJSON = "application/json"
_SSE = "text/event-stream"
_HEADERS = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}

_log = logs.get("api")


@dataclass(frozen=True, slots=True)
class EventParts:
    """The parts that event streams need; ``signal`` makes signals of the HTTP server."""

    broker: Broker
    signal: Callable[[], Signal]


endpoints = Endpoints(EventParts)


def _may_follow(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require what the reads of the topics need: `TYPE-read-plugin` in the namespace, or the
    `plugin` policy `read`, for plugins of a type, and the `node` policy `read` or `write` for
    nodes. Without `topic`, or with `*`, it needs all of them.
    """
    return next((each for _, each in _decisions(authorizer, asked) if not each.allowed), ALLOWED)


def _decisions(authorizer: Authorizer, asked: Asked) -> Iterator[tuple[str, Decision]]:
    """Yield what each topic that is asked for needs, in words, and whether it is allowed."""
    try:
        topics = _topics(asked)
    except BadRequest:  # which the view answers
        topics = Topics.of(())
    types = set()
    for key in topics.keys_of(PLUGIN):
        type_, slash, _ = key.partition("/")
        types |= {type_} & set(asked.types) if slash else set(asked.types)
    types |= {each for each in asked.types if topics.keys_of(topic_of(each))}
    for type_ in sorted(types):
        yield f"{type_}-read-plugin", authorizer.may_read(type_, asked.namespace)
    if topics.keys_of(NODE):
        yield "the node policy read or write", authorizer.may_read_nodes()


def _topics(asked: Asked) -> Topics:
    """Return the topics that are asked for. Raise BadRequest."""
    return Topics.of(value for name, value in asked.parameters if name == "topic")


def _missing(authorizer: Authorizer, asked: Asked) -> str:
    """Return the rights that a caller lacks for the topics, in words."""
    lacks = [words for words, each in _decisions(authorizer, asked) if not each.allowed]
    return " and ".join(lacks)


@endpoints(
    "GET",
    "/v1/event/stream",
    need=_may_follow,
    missing=_missing,
    answer=EVENTS,
    parameters={
        "index": Given("begin with the first change of this index or a later one", NUMBER),
        "topic": "TOPIC or TOPIC:KEY, such as CSIPlugin:ebs0; may be given several times",
        "namespace": "the namespace whose capabilities count; * for any",
    },
    headers={
        "Accept": Given("text/event-stream asks for Server-Sent Events"),
        "Last-Event-ID": Given("begin after this index, as browsers do that connect again", NUMBER),
    },
    errors=(400, 429),
    other_types=(_SSE,),
)
def stream_events(call: Call[EventParts]) -> Reply:
    """Send what changes, as it happens: a line of JSON for each index, with all its events.

    Topics are `Plugin` (each transition, once), `Node` and, for each plugin type, `CSIPlugin` and
    the like, whose events have the plugin as it is now. `{}` is sent at once and every 10 seconds.
    Without an index it begins a hundred changes back (`events.replay`). A last line
    `{"Error": "..."}` says why a stream ended.
    """
    request = call.request
    topics, start = _topics(call.asked), _start(call)
    form = _Form(is_sse=_SSE in request.header("Accept"))
    if request.method == "HEAD":
        return Reply(b"", content_type=form.content_type, headers=_HEADERS)
    holder = holder_of(request, call.acl, time.time_ns())
    consumer = call.parts.broker.open(topics, holder)
    parts = _parts(call, consumer, start, form)
    close = partial(call.parts.broker.close_consumer, consumer)
    return Reply(Stream(parts, close), content_type=form.content_type, headers=_HEADERS)


@dataclass(frozen=True, slots=True)
class _Form:
    """How lines are sent: as lines of JSON, or as Server-Sent Events (HTML, section 9.2)."""

    is_sse: bool

    @property
    def content_type(self) -> str:
        return _SSE if self.is_sse else _NDJSON

    @property
    def heartbeat(self) -> bytes:
        return b":\n\n" if self.is_sse else b"{}\n"

    def line(self, line: bytes) -> bytes:
        """Return the line of an index as it is sent."""
        if not self.is_sse:
            return line + b"\n"
        index = line[len(b'{"Index":') : line.index(b",")]
        return b"id: %b\ndata: %b\n\n" % (index, line)

    def error(self, text: str) -> bytes:
        """Return the last line of a stream."""
        line = orjson.dumps({"Error": text})
        return b"event: error\ndata: %b\n\n" % line if self.is_sse else line + b"\n"


def _start(call: Call[EventParts]) -> int:
    """Return the index that a stream begins with, 0 for the last few changes. Raise BadRequest."""
    asked = call.request.query.get("index", "0") or "0"
    last = call.request.header("Last-Event-ID")
    for text, name in ((last, "Last-Event-ID"), (asked, "index")):
        if text and not (text.isascii() and text.isdigit() and int(text) <= INT64_MAX):
            raise BadRequest(f"Invalid {name}: it is a whole number")
    return int(last) + 1 if last else int(asked)


def _parts(
    call: Call[EventParts], consumer: Consumer, start: int, form: _Form
) -> Iterator[bytes | Pause]:
    """Yield the lines of a stream, with pauses while there are none; the last one is an error."""
    try:
        yield form.heartbeat
        for line in call.parts.broker.earlier(consumer, start):
            call.check()
            yield form.line(line)
        yield from _live(call, consumer, form)
    except TokenNotFound as error:
        yield form.error(str(error))
    except Forbidden:
        yield form.error("Permission denied: the policies and tokens in force have changed")
    except PlugindError as error:
        yield form.error(str(error))
    except Exception as error:
        _log.error("a stream of events failed by a fault of plugind's own", exc_info=error)
        yield form.error("internal error; the server's log says more")


def _live(call: Call[EventParts], consumer: Consumer, form: _Form) -> Iterator[bytes | Pause]:
    """Yield the lines of events as they come, until the stream is ended. Raise Forbidden and
    TokenNotFound."""
    heartbeat_at = time.monotonic() + HEARTBEAT
    while True:
        signal = call.parts.signal()
        consumer.wake = signal.set  # before the look, so that no line comes between unnoticed
        lines = consumer.take()
        call.check()
        for line in lines:
            yield form.line(line)
        if consumer.ended:
            yield form.error(consumer.ended)
            return
        if time.monotonic() >= heartbeat_at:
            yield form.heartbeat
            heartbeat_at = time.monotonic() + HEARTBEAT
        if not lines:
            yield Pause(signal, CHECK_EVERY, ends_with_client=True)
