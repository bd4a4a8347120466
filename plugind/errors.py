"""All errors that plugind raises on purpose, in one tree.

Each has a one-line text for people, and the HTTP status of the response::

    PlugindError                500
     ├── BadRequest             400  the request cannot be understood
     │    └── TooLarge          413
     ├── Forbidden              403  the token, or the node's secret, does not allow it
     │    ├── TokenNotFound     403  no token has this secret, or it is expired
     │    └── LimitReached      403  nothing more may be stored
     ├── NotFound               404
     ├── MethodNotAllowed       405
     ├── Conflict               409  the agent must send its whole report again
     ├── TooManyParked          429  the limit on parked blocking queries is reached
     ├── ReportInWork           429  another report of the same node is in progress
     ├── ClientGone             499  the client closed the connection
     ├── Busy                   503  the limit on waiting writes is reached
     ├── UnknownOutcome         503  a write was begun, and may or may not take effect
     ├── StoreError             503  the store cannot write or read data now
     │    └── Compacted         503  the store's log no longer reaches back that far
     ├── ConfigError            500  mistakes in configuration, all at once
     ├── RegistryError          500  a plugin type or store is missing, broken or a duplicate
     ├── ListenError            500  the server's address cannot be listened on
     │    └── InUse             500  another program listens there
     ├── IdentityError          500  an agent's node ID or secret is damaged or cannot be read
     ├── TokenError             500  an agent's token file is missing, or holds no token
     ├── ProbeFailed            500  raised by a prober: why an instance is not healthy
     └── ClientError            500  a call to a plugind server did not succeed
          ├── Unreachable       503  no server answered, or a server other than plugind
          └── Refused                the server answered with an error; has its status
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class PlugindError(Exception):
    """The root of all errors that plugind raises on purpose.

    ``status`` is the HTTP status of the response. ``retry_after`` is the number of seconds after
    which the same request may succeed, sent as Retry-After (RFC 9110, section 10.2.3); None if
    waiting alone does not help.
    """

    status = 500
    retry_after: int | None = None


class BadRequest(PlugindError):
    status = 400


class TooLarge(BadRequest):
    status = 413


class Forbidden(PlugindError):
    status = 403


class TokenNotFound(Forbidden):
    def __init__(self) -> None:
        super().__init__("ACL token not found")


class LimitReached(Forbidden):
    """A limit on what may be stored is reached; ``limit`` is the name of the setting."""

    def __init__(self, text: str, limit: str) -> None:
        super().__init__(text)
        self.limit = limit


class NotFound(PlugindError):
    status = 404


class MethodNotAllowed(PlugindError):
    status = 405


class Conflict(PlugindError):
    status = 409


class TooManyParked(PlugindError):
    status = 429
    retry_after = 1


class ReportInWork(PlugindError):
    status = 429
    retry_after = 1


class Busy(PlugindError):
    status = 503
    retry_after = 1


class ClientGone(PlugindError):
    status = 499


class StoreError(PlugindError):
    status = 503


class Compacted(StoreError):
    """The log of a store no longer reaches back to an index: load the store again."""


class UnknownOutcome(PlugindError):
    """A write was begun, and it cannot be determined whether it will take effect."""

    status = 503
    retry_after = 1

    def __init__(self, reason: str) -> None:
        super().__init__(f"the outcome is unknown: {reason}; the write may be repeated")


class RegistryError(PlugindError):
    pass


class ListenError(PlugindError):
    pass


class InUse(ListenError):
    pass


class IdentityError(PlugindError):
    pass


class TokenError(PlugindError):
    pass


class ProbeFailed(PlugindError):
    """The reason why a target is not healthy, raised by a prober; operators are shown the text."""


class ClientError(PlugindError):
    pass


class Unreachable(ClientError):
    status = 503


class Refused(ClientError):
    """An error response of the server.

    ``status`` is its HTTP status; the text is its body in one line; ``index`` is the index for the
    next blocking query, or 0 for none; ``retry_after`` is the number of seconds after which to try
    again, or None if not given.
    """

    def __init__(
        self, status: int, text: str, index: int = 0, retry_after: int | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.index = index
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake in configuration: its place, and how to correct it.

    ``line`` and ``column`` count from 1; 0 means that the source, a variable or a flag, has no
    lines.
    """

    source: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        where = f"{self.source}:{self.line}:{self.column}" if self.line else self.source
        return f"{where}: {self.text}"


class ConfigError(PlugindError):
    """All mistakes found in a configuration, in the order of files and lines."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))
