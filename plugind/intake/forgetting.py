"""Remembers forgotten instances, so that a leftover which an agent keeps reporting stays away.

An unhealthy report of a forgotten instance is ignored until the instance is reported healthy once,
is declared in the server's configuration, or is named in the agent's. The memory is bounded: it
holds at most FORGOTTEN_MAXIMUM instances, dropping the oldest first, each for at most
FORGOTTEN_KEPT.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from plugind.model import Fingerprint, Forgotten, InstanceKey, Step
from plugind.model.times import SECOND
from plugind.state import State

FORGOTTEN_MAXIMUM = 20_000
"""Instances that are remembered as forgotten, over all nodes."""

FORGOTTEN_KEPT = 30 * 24 * 3600 * SECOND
"""Nanoseconds after which a forgotten instance counts as one that was never known."""

Steps = list[Step[Forgotten]]


def remember(
    state: State, keys: Collection[InstanceKey], now: int, over: Collection[Forgotten] = ()
) -> Steps:
    """Return the steps that remember the instances ``keys`` as forgotten ``now``, within the
    bounds, and drop the marks that are ``over``. None of ``keys`` is remembered already."""
    new = [Forgotten(key, now) for key in sorted(keys)[:FORGOTTEN_MAXIMUM]]
    dropped = set(over)
    beyond = len(state.forgotten) - len(dropped) + len(new) - FORGOTTEN_MAXIMUM
    if beyond > 0:
        old = set(state.forgotten.values()) - dropped
        dropped.update(sorted(old, key=lambda mark: (mark.time, mark.key))[:beyond])
    return [*(Step(None, mark) for mark in new), *drop(dropped)]


def drop(marks: Iterable[Forgotten]) -> Steps:
    """Return the steps that drop marks of forgotten instances."""
    return [Step(mark, None) for mark in marks]


def expired(state: State, now: int) -> list[Forgotten]:
    """Return the marks that have been kept for too long."""
    return [mark for mark in state.forgotten.values() if now - mark.time > FORGOTTEN_KEPT]


def is_ignored(state: State, key: InstanceKey, raw: Any, read: Fingerprint) -> bool:
    """Return whether a report of a forgotten instance is ignored.

    ``raw`` is the fingerprint as it was reported, ``read`` the same after validation.
    """
    if read.healthy or key.plugin in state.declarations:
        return False
    return not (isinstance(raw, dict) and raw.get("Configured") is True)
