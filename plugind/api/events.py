"""``/v1/event/stream``: changes as they happen, in Nomad's format or as Server-Sent Events."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import orjson

from plugind import logs
from plugind.acl import Authorizer, Decision
from plugind.acl.authorizer import ALLOWED
from plugind.api.clients import stream_holder_of
from plugind.api.endpoints import Asked, Call, Endpoints, Given
from plugind.api.reply import Reply
from plugind.api.request import Pause, Signal, Stream
from plugind.api.shapes import EVENTS, NUMBER
from plugind.api.turns import SELECTED
from plugind.api.yielding import in_slices
from plugind.errors import BadRequest, Forbidden, PlugindError, TokenNotFound
from plugind.events.broker import Broker, Consumer
from plugind.events.event import NODE, PLUGIN, pieces
from plugind.events.making import topic_of
from plugind.events.topics import Topics

HEARTBEAT = 10.0
"""Seconds between two heartbeats of a stream."""

CHECK_EVERY = 1.0
"""Seconds after which the rights of a stream without events are checked again."""

TURN = 0.01
"""Seconds of each turn that a replay takes; it shares turns with other costly reads."""

BATCH = 2**18
"""Bytes of earlier events at which a turn ends."""

_NDJSON = "application/json"
SSE = "text/event-stream"
STREAM_HEADERS = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}

_log = logs.get("api")


@dataclass(frozen=True, slots=True)
class EventParts:
    """The parts that event streams need; ``signal`` makes the HTTP server's signals."""

    broker: Broker
    signal: Callable[[], Signal]


endpoints = Endpoints(EventParts)


def _may_follow(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require the rights to read the topics: for plugins of a type, `TYPE-read-plugin` in the
    namespace or the `plugin` policy `read`; for nodes, the `node` policy `read` or `write`. Without
    `topic`, or with `*`, all of these are needed.
    """
    return next((each for _, each in _decisions(authorizer, asked) if not each.allowed), ALLOWED)


def _decisions(authorizer: Authorizer, asked: Asked) -> Iterator[tuple[str, Decision]]:
    """Yield what each requested topic needs, in words, and whether that is allowed."""
    try:
        topics = _topics(asked)
    except BadRequest:  # the view reports it
        topics = Topics.of(())
    types = set()
    for key in topics.keys_of(PLUGIN):
        type_, slash, _ = key.partition("/")
        types |= {type_} if slash else set(asked.types)
    types |= {each for each in asked.types if topics.keys_of(topic_of(each))}
    for type_ in sorted(types):
        yield f"{type_}-read-plugin", authorizer.may_read(type_, asked.namespace)
    if topics.keys_of(NODE):
        yield "the node policy read or write", authorizer.may_read_nodes()


def _topics(asked: Asked) -> Topics:
    """Return the requested topics. Raise BadRequest."""
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
    other_types=(SSE,),
)
def stream_events(call: Call[EventParts]) -> Reply:
    """Send changes as they happen: one line of JSON for each index, with all its events.

    Topics are `Plugin` (each transition, once), `Node` and, for each plugin type, `CSIPlugin` and
    the like, whose events have the plugin as it is now. `{}` is sent at once and every 10 seconds.
    Without an index the stream begins a hundred changes back (`events.replay`). The last line,
    `{"Error": "..."}`, says why the stream ended.
    """
    request = call.request
    topics, start = _topics(call.asked), _start(call)
    form = _Form(is_sse=SSE in request.header("Accept"))
    if request.method == "HEAD":
        return Reply(b"", content_type=form.content_type, headers=STREAM_HEADERS)
    holder = stream_holder_of(request, call.acl, time.time_ns())
    consumer = call.parts.broker.open(topics, holder)
    parts = _Sending(call, consumer, form).parts(start)
    close = partial(call.parts.broker.close_consumer, consumer)
    return Reply(Stream(parts, close), content_type=form.content_type, headers=STREAM_HEADERS)


@dataclass(frozen=True, slots=True)
class _Form:
    """The format of a stream: lines of JSON, or Server-Sent Events (HTML, section 9.2)."""

    is_sse: bool

    @property
    def content_type(self) -> str:
        return SSE if self.is_sse else _NDJSON

    @property
    def heartbeat(self) -> bytes:
        return b":\n\n" if self.is_sse else b"{}\n"

    def line(self, index: int, parts: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the line of an index, as it is sent; ``parts`` are its content."""
        if self.is_sse:
            yield b"id: %d\ndata: " % index
        yield from parts
        yield b"\n\n" if self.is_sse else b"\n"

    def error(self, text: str) -> bytes:
        """Return the last line of a stream."""
        line = orjson.dumps({"Error": text})
        return b"event: error\ndata: %b\n\n" % line if self.is_sse else line + b"\n"


def _start(call: Call[EventParts]) -> int:
    """Return the index that a stream begins with, 0 for the last few changes. Raise BadRequest."""
    asked = call.request.query.get("index", "") or "0"
    last = call.request.header("Last-Event-ID")
    for text, name in ((last, "Last-Event-ID"), (asked, "index")):
        if text and not re.fullmatch("[0-9]{1,18}", text):
            raise BadRequest(f"Invalid {name}: it is a whole number")
    return int(last) + 1 if last else int(asked)


class _Sending:
    """Sends the events of one consumer, from an index on."""

    def __init__(self, call: Call[EventParts], consumer: Consumer, form: _Form) -> None:
        self._call = call
        self._consumer = consumer
        self._form = form
        self._is_within_line = False
        self._beat_at = time.monotonic() + HEARTBEAT

    def parts(self, start: int) -> Iterator[bytes | Pause]:
        """Yield everything that is sent, and pauses in between; the last line is an error."""
        try:
            yield self._form.heartbeat
            yield from self._replay(start)
            yield from self._live()
            text = self._consumer.ended
        except TokenNotFound as error:
            text = str(error)
        except Forbidden:
            text = "Permission denied: the policies and tokens in force have changed"
        except PlugindError as error:
            text = str(error)
        except Exception as error:
            _log.error("a stream of events failed by a fault of plugind's own", exc_info=error)
            text = "internal error; the server's log says more"
        yield b"\n\n" * self._is_within_line + self._form.error(text)

    def _replay(self, start: int) -> Iterator[bytes | Pause]:
        """Yield the events until now; they are made in turns with other costly reads."""
        turn, signal = self._call.turn, self._call.parts.signal()
        made = in_slices(self._earlier(start))
        is_done = False
        while not (is_done or self._consumer.ended):
            yield from turn.begin(SELECTED, self._call.holder)
            try:
                batch, is_done = _taken(made)
            finally:
                turn.end()
            self._call.check()
            if batch:
                self._is_within_line = not batch.endswith(b"\n")
                yield batch
            if not self._is_within_line:
                yield from self._heartbeat()
            yield Pause(signal, 0.0, ends_with_client=True)  # raises if the client has left

    def _earlier(self, start: int) -> Iterator[bytes]:
        """Yield parts of the lines of earlier events; b"" for an index without such events."""
        for moment in self._call.parts.broker.earlier(self._consumer, start):
            if events := self._consumer.select(moment):
                bodies = (each.render() for each in events)
                yield from self._form.line(moment.index, pieces(moment.index, bodies))
            else:
                yield b""

    def _live(self) -> Iterator[bytes | Pause]:
        """Yield the lines of events as they come, until the stream is ended. Raise Forbidden or
        TokenNotFound."""
        while not self._consumer.ended:
            signal = self._call.parts.signal()
            self._consumer.wake = signal.set  # before ``take``, so that no line goes unnoticed
            lines = self._consumer.take()
            for index, line in lines:
                self._call.check()
                yield b"".join(self._form.line(index, [line]))
            self._call.check()
            yield from self._heartbeat()
            if not (lines or self._consumer.ended):
                yield Pause(signal, CHECK_EVERY, ends_with_client=True)

    def _heartbeat(self) -> Iterator[bytes]:
        """Yield a heartbeat if one is due."""
        if time.monotonic() >= self._beat_at:
            self._beat_at = time.monotonic() + HEARTBEAT
            yield self._form.heartbeat


def _taken(made: Iterator[bytes]) -> tuple[bytes, bool]:
    """Return the parts that one turn has time for, joined, and whether they were the last."""
    parts, size, until = [], 0, time.monotonic() + TURN
    for part in made:
        parts.append(part)
        size += len(part)
        if size >= BATCH or time.monotonic() >= until:
            return b"".join(parts), False
    return b"".join(parts), True
