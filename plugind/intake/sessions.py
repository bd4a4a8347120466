"""Begins and ends the sessions of browsers, and bounds their number.

Beyond a bound, the oldest session of the same token ends, or the oldest of the token that has the
most, so that sessions of one token take no place from those of others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from plugind.model import Session, Step
from plugind.state import State

SESSIONS_PER_TOKEN = 20
SESSIONS_MAXIMUM = 2_000

Steps = list[Step[Session]]


def begin(state: State, session: Session, ended: str, now: int) -> Steps:
    """Return the steps that begin a session within the bounds, and end the one with the key
    ``ended`` and all that have expired."""
    over = {key for key, each in state.sessions.items() if each.ends <= now or key == ended}
    left = [each for key, each in state.sessions.items() if key not in over]
    mine = [each for each in left if each.accessor == session.accessor]
    if len(mine) >= SESSIONS_PER_TOKEN:
        over.add(_oldest(mine))
    elif len(left) >= SESSIONS_MAXIMUM:
        largest = Counter(each.accessor for each in left).most_common(1)[0][0]
        over.add(_oldest([each for each in left if each.accessor == largest]))
    return [*end(state, over), Step(None, session)]


def end(state: State, keys: Collection[str]) -> Steps:
    """Return the steps that end the sessions of these keys, as far as they exist."""
    return [Step(state.sessions[key], None) for key in sorted(keys) if key in state.sessions]


def _oldest(found: Collection[Session]) -> str:
    return min(found, key=lambda each: (each.began, each.key)).key
