"""One event, and the line of a stream with all events of one index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import orjson

NODE, PLUGIN = "Node", "Plugin"
"""The topics of nodes, and of the transitions of every plugin type."""

REGISTERED, DEREGISTERED, STREAMED = ("NodeRegistration", "NodeDeregistration", "NodeStreamEvent")
"""The types of plugin and node events: a report, a removal, and a node going down or coming up."""

GAP = "Gap"
"""The type of the event of topic PLUGIN which reports that earlier transitions are not kept."""


@dataclass(frozen=True)
class Event:
    """An event at an index. Consumers select it by ``key`` and ``filter_keys``; ``make_payload``
    returns its JSON when the first consumer takes it."""

    index: int
    topic: str
    type: str
    key: str
    filter_keys: tuple[str, ...]
    make_payload: Callable[[], bytes]

    def render(self) -> bytes:
        """Return the event as JSON (Nomad's API, "Event Stream")."""
        return orjson.dumps(
            {
                "Topic": self.topic,
                "Type": self.type,
                "Key": self.key,
                "Namespace": "",
                "FilterKeys": self.filter_keys,
                "Index": self.index,
                "Payload": orjson.Fragment(self.make_payload()),
            }
        )

    @cached_property
    def body(self) -> bytes:
        """Return the event as JSON, rendered once for all consumers."""
        return self.render()


@dataclass(frozen=True, slots=True)
class Moment:
    """The events of one index, in their order."""

    index: int
    events: tuple[Event, ...]


def pieces(index: int, bodies: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the JSON of the events of one index, without a final newline. It is yielded in pieces,
    because after a restore all nodes and plugins have last changed at the same index."""
    before = b'{"Index":%d,"Events":[' % index
    for body in bodies:
        yield before + body
        before = b","
    yield b"]}"
