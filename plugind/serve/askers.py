"""Tracks whether several clients send requests at the same time and so have to take turns."""

from __future__ import annotations

import time

AT_ONCE_MAXIMUM = 4
AT_ONCE_SECONDS = 0.02
"""While other addresses send requests, too, at most AT_ONCE_MAXIMUM requests of one address within
AT_ONCE_SECONDS are answered without taking a turn."""

_RECENT = 0.1  # seconds after a change of client within which several clients count as asking


class Askers:
    """The clients that sent requests a moment ago. A client is an address, or "ADDRESS NAME" if
    clients behind one address take turns, too."""

    def __init__(self) -> None:
        self._last = self._last_address = ""
        self._last_change = -_RECENT
        self._at_once: dict[str, int] = {}  # requests by address
        self._counted_since = 0.0

    def note(self, client: str) -> None:
        """Note a request of a client that takes a turn."""
        if client != self._last:
            self._change(client, client.partition(" ")[0], time.monotonic())

    @property
    def are_several(self) -> bool:
        """Return whether more than one client asked a moment ago."""
        return time.monotonic() - self._last_change <= _RECENT

    def may_be_at_once(self, address: str, now: float) -> bool:
        """Note a request that can be answered without taking a turn, and return whether it may be.

        ``now`` is the time by the monotonic clock. While others ask, too, the requests of an
        address beyond AT_ONCE_MAXIMUM take turns.
        """
        if address != self._last_address:
            self._change(address, address, now)
        if now - self._last_change > _RECENT:
            return True
        if now - self._counted_since > AT_ONCE_SECONDS:
            self._counted_since = now
            self._at_once.clear()
        count = self._at_once[address] = self._at_once.get(address, 0) + 1
        return count <= AT_ONCE_MAXIMUM

    def _change(self, client: str, address: str, now: float) -> None:
        if self._last:  # the first one is alone
            self._last_change = now
        self._last, self._last_address = client, address
