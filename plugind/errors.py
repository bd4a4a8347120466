"""Every error that plugind raises on purpose, in one tree.

Each has a one-line text fit for people and the HTTP status that it is answered with::

    PlugindError                500
     ├── BadRequest             400  the request cannot be understood
     │    └── TooLarge          413
     ├── Forbidden              403  the token, or the node's secret, does not allow it
     │    └── TokenNotFound     403  no token has this secret, or it is expired
     ├── NotFound               404
     ├── MethodNotAllowed       405
     ├── Conflict               409  the agent must send its whole report again
     ├── TooManyParked          429  as many blocking queries are parked as may be
     ├── ClientGone             499  nobody is there any more to take the answer
     ├── StoreError             503  the store cannot take or give data now
     ├── ConfigError            500  mistakes in configuration, all at once
     ├── RegistryError          500  a plugin type or store is missing, broken or doubled
     ├── ListenError            500  the server's address cannot be listened on
     ├── IdentityError          500  an agent's node ID or secret is damaged, or not to be had
     ├── TokenError             500  an agent's token file is missing, or holds no token
     ├── ProbeFailed            500  raised by a prober: why an instance is not healthy
     └── ClientError            500  a call to a plugind server did not succeed
          ├── Unreachable       503  nobody answered, or not what a plugind answers
          └── Refused                the server answered with an error; has its status
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class PlugindError(Exception):
    """The root of the tree. ``status`` is the HTTP status the error is answered with."""

    status = 500


class BadRequest(PlugindError):
    status = 400


class TooLarge(BadRequest):
    status = 413


class Forbidden(PlugindError):
    status = 403


class TokenNotFound(Forbidden):
    def __init__(self) -> None:
        super().__init__("ACL token not found")


class NotFound(PlugindError):
    status = 404


class MethodNotAllowed(PlugindError):
    status = 405


class Conflict(PlugindError):
    status = 409


class TooManyParked(PlugindError):
    status = 429


class ClientGone(PlugindError):
    status = 499


class StoreError(PlugindError):
    status = 503


class RegistryError(PlugindError):
    pass


class ListenError(PlugindError):
    pass


class IdentityError(PlugindError):
    pass


class TokenError(PlugindError):
    pass


class ProbeFailed(PlugindError):
    """What a prober raises to say why a target is not healthy; the text is shown to operators."""


class ClientError(PlugindError):
    pass


class Unreachable(ClientError):
    status = 503


class Refused(ClientError):
    """The server's answer was an error: its ``status``, its one-line text, and the ``index`` that
    it is from (0: none), to wait on from."""

    def __init__(self, status: int, text: str, index: int = 0) -> None:
        super().__init__(text)
        self.status = status
        self.index = index


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake in configuration: where it stands and what would be right.

    ``line`` and ``column`` count from 1; 0 means that the source has no lines (a variable, a flag).
    """

    source: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        where = f"{self.source}:{self.line}:{self.column}" if self.line else self.source
        return f"{where}: {self.text}"


class ConfigError(PlugindError):
    """All mistakes found in a configuration, in the order of the files and lines."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))
