"""Stored transitions as pages show them, newest first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from plugind.api.history import IsSeen, all_seen
from plugind.errors import BadRequest
from plugind.model import HistoryQuery, PluginKey, StoredTransition
from plugind.model.changes import EXPECTED, FLAPPING, NODE_UP, VERSION
from plugind.model.times import INT64_MAX, SECOND, format_duration
from plugind.store.paging import newest_first
from plugind.ui.parts import Look

SHOWN = 50
"""Most transitions on a page."""

_LOOKED_AT = 3_000  # most transitions read for a page: a caller with few rights may see few


@dataclass(frozen=True, slots=True)
class Event:
    """One transition; ``plugin`` is None for one of a node, ``details`` says what changed and why.

    ``tone`` is "good", "bad" or "plain".
    """

    seq: int
    time: int
    since: int
    kind: str
    tone: str
    plugin: PluginKey | None
    role: str
    node_id: str
    node: str
    details: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The newest events that were asked for; ``older`` is the ``before`` of the next page, 0 if
    there is none."""

    events: Sequence[Event]
    older: int = 0


def timeline(look: Look, asked: HistoryQuery, is_seen: IsSeen = all_seen) -> Timeline:
    """Return the events of a query that the caller may see, from before the one in the URL.

    Raise BadRequest if the URL's ``before`` is not valid.
    """
    before = look.asked("before")
    if before and not (re.fullmatch("[0-9]{1,19}", before) and int(before) <= INT64_MAX):
        raise BadRequest("Invalid before: take it from the link to older events")
    query = replace(asked, before=int(before) if before else None)
    found: list[Event] = []
    for number, stored in enumerate(newest_first(look.parts.select, query, SHOWN + 1)):
        if len(found) == SHOWN or number == _LOOKED_AT:
            return Timeline(found, stored.seq + 1)
        if is_seen(stored):
            found.append(_event(stored))
    return Timeline(found)


def _event(stored: StoredTransition) -> Event:
    one = stored.transition
    if one.kind == FLAPPING:
        healthy = format_duration(one.healthy_seconds * SECOND)
        details = f"{one.count} changes, healthy for {healthy} in all: {one.reason}"
    elif one.kind in (VERSION, EXPECTED):
        details = f"{one.before or 'none'} → {one.after or 'none'}"
    else:
        details = one.reason
    return Event(
        seq=stored.seq,
        time=one.time,
        since=one.since,
        kind=one.kind,
        tone=_tone(one.kind, one.healthy),
        plugin=PluginKey(one.type, one.id) if one.type else None,
        role=one.role,
        node_id=one.node_id,
        node=one.node,
        details=details,
    )


def _tone(kind: str, is_healthy: bool) -> str:
    """Return whether an event is good news, bad news, or neither."""
    if kind in (VERSION, EXPECTED):
        return "plain"
    return "good" if kind == NODE_UP or is_healthy else "bad"
