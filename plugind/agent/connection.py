"""Whom the agent speaks to: the servers there are, whose turn it is, and whether that works."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from plugind import logs
from plugind.agent.token_file import TokenFile
from plugind.client import Client
from plugind.errors import Refused
from plugind.fields import format_time

_log = logs.get("agent")


class Line:
    """The servers there are, and the one that is spoken to; with the token of now."""

    def __init__(
        self, servers: Sequence[str], token: TokenFile, ca_file: Path | None, timeout: float
    ) -> None:
        self._servers = tuple(servers)
        self._token_file = token
        self._ca_file = ca_file
        self._timeout = timeout
        self._turn = 0
        self._token = ""
        self._client: Client | None = None

    @property
    def address(self) -> str:
        return self._servers[self._turn % len(self._servers)]

    def client(self) -> Client:
        """A client of the server whose turn it is. Raises TokenError, or Unreachable for what is
        no address."""
        token = self._token_file.read()
        if self._client is None or token != self._token:
            self.close()
            ca_file = str(self._ca_file) if self._ca_file else None
            self._client = Client(self.address, token=token, ca_file=ca_file, timeout=self._timeout)
            self._token = token
        return self._client

    @property
    def length(self) -> int:
        """How many servers there are."""
        return len(self._servers)

    def hurry(self, timeout: float) -> None:
        """Waits no longer than that for an answer from here on."""
        self.close()
        self._timeout = min(self._timeout, timeout)

    def turn(self) -> None:
        """The next server is spoken to from here on, over a new connection."""
        self.close()
        self._turn += 1

    def close(self) -> None:
        if self._client:
            self._client.close()
        self._client = None


class Connection:
    """Whether a server takes what is sent, since when not, and why; logs when that changes."""

    def __init__(self) -> None:
        self._since = time.time_ns()
        self._reason = "starting"
        self._lost = False  # and told of
        self._refusals: set[str] = set()

    def health(self) -> tuple[bool, str]:
        """True and "ok", or False and a line that says since when and why."""
        reason = self._reason
        if not reason:
            return True, "ok"
        return False, f"not connected to any server since {format_time(self._since)}: {reason}"

    def works(self, address: str) -> None:
        if self._reason:
            _log.info("connected", server=address)
        self._reason = ""
        self._lost = False
        self._refusals.clear()

    def fails(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if not self._reason:
            self._since = time.time_ns()
        self._reason = text
        if is_refusal(error):
            if text not in self._refusals:
                self._refusals.add(text)
                _log.error("the server refuses", text=text)
        elif not self._lost:
            self._lost = True
            _log.warning("no server takes reports; trying on", reason=text)


def is_refusal(error: Exception) -> bool:
    """Whether only a person can mend it: a 4xx other than 409 and 429."""
    return (
        isinstance(error, Refused) and 400 <= error.status < 500 and error.status not in (409, 429)
    )
