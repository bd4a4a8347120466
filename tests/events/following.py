"""A follower of the event stream of a server that may be killed at any moment."""

from __future__ import annotations

import json
import threading
from typing import Any

import requests

from tests.promises import PATIENCE

PAUSE = 0.05


class Follower:
    """Keep every transition received, and reconnect after the last index received."""

    def __init__(self, address: str, query: str = "topic=Plugin") -> None:
        self.rows: list[dict[str, Any]] = []
        self.connections = 0
        self._address = address
        self._query = query
        self._next = 1
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower")
        self._thread.start()

    def close(self) -> None:
        """End it, which takes at most the ten seconds between two heartbeats."""
        self._ended.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _follow(self) -> None:
        while not self._ended.is_set():
            url = f"{self._address}/v1/event/stream?{self._query}&index={self._next}"
            try:
                with requests.get(url, stream=True, timeout=PATIENCE) as answer:
                    self.connections += 1
                    self._read(answer)
            except requests.RequestException:
                self._ended.wait(PAUSE)

    def _read(self, answer: requests.Response) -> None:
        for raw in answer.iter_lines(chunk_size=1):
            line = json.loads(raw) if raw else {}
            if "Events" in line:
                self.rows += [each["Payload"] for each in line["Events"]]
                self._next = line["Index"] + 1
            if self._ended.is_set() or "Error" in line:
                return
