"""The connection of the agent: its servers, the one that is used now, and whether it works."""

from __future__ import annotations

import time
from collections.abc import Sequence

from plugind import logs
from plugind.client import Client, Tls
from plugind.client.token_file import TokenFile
from plugind.errors import Refused
from plugind.model.times import time_text

_DENIED = "Permission denied"  # the beginning of refusals that a token may prevent

_log = logs.get("agent")


class Line:
    """The list of servers and the client of the one in use, with the current token."""

    def __init__(self, servers: Sequence[str], token: TokenFile, tls: Tls, timeout: float) -> None:
        self._servers = tuple(servers)
        self._token_file = token
        self._tls = tls
        self._timeout = timeout
        self._turn = 0
        self._token = ""
        self._client: Client | None = None

    @property
    def has_token_file(self) -> bool:
        return self._token_file.is_set

    @property
    def address(self) -> str:
        return self._servers[self._turn % len(self._servers)]

    def client(self) -> Client:
        """Return a client of the current server.

        Raise TokenError, ClientError for files that TLS cannot use, or Unreachable for an invalid
        address.
        """
        token = self._token_file.read()
        if self._client is None or token != self._token:
            self.close()
            self._client = Client(self.address, token=token, tls=self._tls, timeout=self._timeout)
            self._token = token
        return self._client

    @property
    def length(self) -> int:
        """Return the number of servers."""
        return len(self._servers)

    def hurry(self, timeout: float) -> None:
        """Wait at most ``timeout`` seconds for an answer from here on."""
        self.close()
        self._timeout = min(self._timeout, timeout)

    def rest(self) -> None:
        """Close the connection until the next request."""
        if self._client:
            self._client.close()

    def turn(self) -> None:
        """Use the next server from here on, over a new connection."""
        self.close()
        self._turn += 1

    def close(self) -> None:
        """Close the connection, so that the next request makes a new client."""
        self.rest()
        self._client = None


class Connection:
    """Whether a server accepts reports, since when it does not, and why; logs when that changes."""

    def __init__(self) -> None:
        self._since = time.time_ns()
        self._reason = "starting"
        self._lost = False  # whether the loss has been logged
        self._refusals: set[str] = set()

    def health(self) -> tuple[bool, str]:
        """Return True and "ok", or False and a line with since when and why."""
        reason = self._reason
        if not reason:
            return True, "ok"
        return False, f"not connected to any server since {time_text(self._since)}: {reason}"

    def works(self, address: str) -> None:
        if self._reason:
            _log.info("connected", server=address)
        self._reason = ""
        self._lost = False
        self._refusals.clear()

    def fails(self, error: Exception, *, has_token_file: bool = True) -> None:
        text = str(error) or type(error).__name__
        if not self._reason:
            self._since = time.time_ns()
        self._reason = text
        if is_refusal(error):
            if text not in self._refusals:
                self._refusals.add(text)
                lacks_token = not has_token_file and text.startswith(_DENIED)
                hint = {"hint": "client.token_file is not set"} if lacks_token else {}
                _log.error("the server refuses", text=text, **hint)
        elif not self._lost:
            self._lost = True
            _log.warning("no server accepts reports; trying again", reason=text)


def is_refusal(error: Exception) -> bool:
    """Return whether only an operator can correct the error: a 4xx other than 409 and 429."""
    return (
        isinstance(error, Refused) and 400 <= error.status < 500 and error.status not in (409, 429)
    )


def retry_after(error: Exception) -> int | None:
    """Return in how many seconds a busy server may be asked again; None where it is not busy."""
    return error.retry_after if isinstance(error, Refused) else None
