"""Whether several addresses send requests at a time, so that those of one are to make room."""

from __future__ import annotations

import time

AT_ONCE_MAXIMUM = 4
AT_ONCE_SECONDS = 0.02
"""Requests of one address that are answered without a turn, while others ask, in so many
seconds."""

_RECENT = 0.1  # seconds in which another address was answered, so that it may ask again


class Askers:
    """The addresses that sent requests a moment ago. Where clients behind one address take turns,
    too, ``note`` gets "ADDRESS NAME"."""

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
        """Note a request of an address that can be answered without a turn, ``now`` (monotonic
        clock). Return whether it may: while others ask, too, those of each address beyond
        AT_ONCE_MAXIMUM take turns."""
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
