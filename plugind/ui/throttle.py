"""Limits how often each address may try to sign in."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from plugind.errors import TooManyParked
from plugind.health import Hits
from plugind.wire.addresses import party_of

ATTEMPTS = 10
"""Attempts that one address may make at once; then it may make one every SECONDS_EACH."""

SECONDS_EACH = 6.0
ADDRESSES_MAXIMUM = 10_000


class Throttle:
    """Counts attempts by address. Thread-safe."""

    def __init__(self, hits: Hits) -> None:
        self._hits = hits
        self._lock = threading.Lock()
        self._free_at: OrderedDict[str, float] = OrderedDict()

    def attempt(self, client: str) -> None:
        """Count an attempt. Raise TooManyParked if the client made too many."""
        name, now = party_of(client), time.monotonic()
        with self._lock:
            free_at = max(self._free_at.pop(name, now), now)
            is_allowed = free_at - now < ATTEMPTS * SECONDS_EACH - SECONDS_EACH / 2
            self._free_at[name] = free_at + SECONDS_EACH if is_allowed else free_at
            while len(self._free_at) > ADDRESSES_MAXIMUM:
                self._free_at.popitem(last=False)
        if not is_allowed:
            self._hits.add("sign_ins", client=client)
            raise TooManyParked("too many attempts to sign in: wait a few seconds")
