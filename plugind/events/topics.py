"""The topics that a consumer asks for, and which events they select."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from plugind.errors import BadRequest
from plugind.events.event import Event

ANY = "*"

TOPICS_MAXIMUM = 100
"""Maximum number of topics of one stream: a thread shared by all streams checks each of them for
each event."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The requested keys, by topic; ANY stands for all topics, or for all keys."""

    keys: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Topics:
        """Return the topics that texts such as ``Node:*`` name; all topics if there are no texts.

        A topic without a key stands for all its keys. Raise BadRequest for a text that is not a
        topic, and for more than TOPICS_MAXIMUM texts.
        """
        texts = tuple(texts)
        if len(texts) > TOPICS_MAXIMUM:
            raise BadRequest(f"there are {len(texts)} topics, more than {TOPICS_MAXIMUM}")
        keys: dict[str, set[str]] = defaultdict(set)
        for text in texts:
            topic, *rest = text.split(":")
            if not topic or len(rest) > 1 or rest == [""]:
                shown = text[:64]
                raise BadRequest(f"Invalid topic {shown!r}: write TOPIC or TOPIC:KEY, as Node:*")
            keys[topic].update(rest or [ANY])
        return cls({topic: frozenset(each) for topic, each in keys.items()} or {ANY: ALL_KEYS})

    def keys_of(self, topic: str) -> frozenset[str]:
        """Return the requested keys of a topic, none if the topic is not requested."""
        keys = self.keys.get(topic, NO_KEYS)
        return keys | self.keys[ANY] if ANY in self.keys else keys

    def select(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield the requested events. An event without a key goes to every consumer that requests
        its topic."""
        for event in events:
            keys = self.keys_of(event.topic)
            is_any = ANY in keys or (keys and not event.key)
            if is_any or event.key in keys or not keys.isdisjoint(event.filter_keys):
                yield event


ALL_KEYS = frozenset([ANY])
NO_KEYS: frozenset[str] = frozenset()
