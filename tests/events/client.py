"""A client of an event stream over HTTP."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.promises import PATIENCE
from tests.support import Live


class Stream:
    """An open stream; ``lines`` are read one at a time, without heartbeats."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.answer = answer
        self.beats = 0

    def raw(self) -> bytes:
        """Return the next line unchanged; b"" at the end of the stream."""
        return self.answer.readline()

    def line(self) -> Any:
        """Return the next line that is not a heartbeat; None at the end of the stream."""
        while raw := self.raw():
            found = json.loads(raw)
            if found:
                return found
            self.beats += 1
        return None

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield one event after the other."""
        while found := self.line():
            assert "Error" not in found, found
            for event in found["Events"]:
                assert event["Index"] == found["Index"]
                yield event

    def until(self, index: int) -> list[dict[str, Any]]:
        """Return the events up to an index, which must have one."""
        found = []
        while True:
            line = self.line()
            found += line["Events"]
            if line["Index"] >= index:
                return found


@contextmanager
def stream(
    api: Live, query: str = "", headers: Mapping[str, str] | None = None, status: int = 200
) -> Iterator[Stream]:
    connection = http.client.HTTPConnection(api.address.partition("//")[2], timeout=PATIENCE)
    try:
        connection.request("GET", f"/v1/event/stream{query}", headers=dict(headers or {}))
        with connection.getresponse() as answer:
            assert answer.status == status, answer.read()
            yield Stream(answer)
    finally:
        connection.close()
