"""A request as the API sees it, from whichever server it comes, and how it waits there."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from plugind.errors import TooLarge
from plugind.model.values import Value
from plugind.wire import strict_json

T = TypeVar("T")


class Headers(Protocol):
    """The headers of a request, by name in any case."""

    def get(self, name: str, default: str, /) -> str: ...


class Connection(Protocol):
    """The connection that a request came over."""

    def verified_node(self) -> None:
        """Note that an agent proved on the connection which node it is."""

    def on_close(self, call: Callable[[], None] | None) -> None:
        """Call ``call`` once the client has left, from any thread; None takes that back."""

    def waits(self) -> None:
        """Note that the request waits, so that another one may be answered meanwhile."""


class Request(Value, frozen=True, eq=False):
    """A request: its head, and ``read`` for as many bytes of its body as are left, at most.

    ``path`` is decoded; ``query`` has the first value of each parameter, and ``parameters`` has
    every name and value in their order. ``remote`` is the address
    at the other end of the connection, ``client`` the one that the request comes from by the word
    of trusted proxies. ``has_left`` returns whether the client went away, in any thread.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Headers
    parameters: Sequence[tuple[str, str]] = ()
    remote: str = ""
    client: str = ""
    content_length: int = 0
    read: Callable[[int], bytes] = lambda size: b""
    connection: Connection | None = None
    has_left: Callable[[], bool] = lambda: False

    def __repr__(self) -> str:
        """Return a text without the headers, for some are secrets."""
        return f"Request({self.method!r}, {self.path!r})"

    def header(self, name: str) -> str:
        """Return the value of a header, "" where it is missing."""
        return self.headers.get(name, "")

    @property
    def may_block(self) -> bool:
        """Return whether the request may wait for an index."""
        return "index" in self.query and self.method in ("GET", "HEAD")

    @property
    def secret(self) -> str:
        """Return the secret of the request's token, "" for none."""
        return secret_in(self.header("X-Nomad-Token"), self.header("Authorization"))

    def document(self, maximum: int) -> object:
        """Return the body, as JSON of at most ``maximum`` bytes. Raise BadRequest and TooLarge."""
        body = self.read(maximum + 1)
        if len(body) > maximum:
            raise TooLarge(f"the body is larger than {maximum} bytes")
        return strict_json.parse(body)


def secret_in(token: str, authorization: str) -> str:
    """Return the secret of a token in Nomad's header, or else in a bearer's (RFC 6750).

    The arguments are the values of the headers; "" stands for none.
    """
    if token := token.strip():
        return token
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class Signal(Protocol):
    """What a server has of its own for a request to wait for, such as an event of its threads."""

    def set(self) -> None:
        """End the wait; may be called from any thread, at any time, and does not block."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A wait of a request for its signal, for ``timeout`` seconds at most (None: no limit).

    ``ends_with_client``: once the client has left the server raises ClientGone where the request
    waits. Other waits are short, and go on. ``is_before_long``: what follows takes long or blocks,
    so a server with few threads goes on with it in others. ``keeps_place``: the request counts as
    being in work meanwhile, so that those that wait for its place still do.
    """

    signal: Signal
    timeout: float | None = None
    ends_with_client: bool = False
    is_before_long: bool = False
    keeps_place: bool = False


Steps = Generator[Pause, None, T]
"""Work on a request that pauses. Its server goes on with it after each pause, until it returns."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A body that is sent part by part, as the parts come, with pauses between them.

    A pause ends with its timeout like any other. ``close`` is called when the answer ends, for
    whatever reason, and may be called twice.
    """

    parts: Iterator[bytes | Pause]
    close: Callable[[], object]


class Server(Protocol):
    """How a server parks requests."""

    def signal(self) -> Signal:
        """Return a signal that is not set."""

    def run(self, steps: Steps[T], connection: Connection | None) -> T:
        """Take steps, with their pauses, and return what they return."""

    def send(self, stream: Stream, connection: Connection | None) -> Iterable[bytes]:
        """Return the parts of a stream as a body of WSGI, which ends when the client leaves."""
