"""A request as the API sees it, whichever HTTP server received it, and how it waits there."""

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
        """Note that an agent has proved on this connection which node it is."""

    def on_close(self, call: Callable[[], None] | None) -> None:
        """Call ``call`` once the client has left, from any thread; None cancels that."""

    def waits(self) -> None:
        """Note that the request waits, so that another one may be answered meanwhile."""


class Request(Value, frozen=True, eq=False):
    """A request: its head, and ``read``, which returns at most a given number of the body's bytes.

    ``path`` is decoded; ``query`` has the first value of each parameter, and ``parameters`` has
    every name and value in their order. ``remote`` is the address at the other end of the
    connection, ``client`` the one that the request comes from, as trusted proxies report it.
    ``has_left`` returns whether the client has left; any thread may call it.
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
        """Return a text without the headers, because some are secrets."""
        return f"Request({self.method!r}, {self.path!r})"

    def header(self, name: str) -> str:
        """Return the value of a header, "" if it is missing."""
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
        """Return the parsed JSON body, at most ``maximum`` bytes. Raise BadRequest or TooLarge."""
        body = self.read(maximum + 1)
        if len(body) > maximum:
            raise TooLarge(f"the body is larger than {maximum} bytes")
        return strict_json.parse(body)


def secret_in(token: str, authorization: str) -> str:
    """Return a token's secret: from Nomad's header, else from ``Authorization: Bearer`` (RFC 6750).

    The arguments are the values of these headers; "" stands for none.
    """
    if token := token.strip():
        return token
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class Signal(Protocol):
    """What a request waits for. Each server has its own kind, such as a ``threading.Event``."""

    def set(self) -> None:
        """End the wait. Any thread may call this at any time, and it does not block."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A request's wait for its signal, for ``timeout`` seconds at most (None: no limit).

    ``ends_with_client``: if the client leaves, the server raises ClientGone where the request
    waits. Other waits are short, and continue without the client. ``is_before_long``: the work that
    follows takes long or blocks, so a server with few threads continues it in other threads.
    ``keeps_place``: the request still counts as being in work while it waits, so that no other
    request takes its place.
    """

    signal: Signal
    timeout: float | None = None
    ends_with_client: bool = False
    is_before_long: bool = False
    keeps_place: bool = False


Steps = Generator[Pause, None, T]
"""Work on a request, with pauses. The server resumes it after each pause, until it returns."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A body that is sent part by part, as the parts become available, with pauses between them.

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
        """Run steps, with their pauses, and return what they return."""

    def send(self, stream: Stream, connection: Connection | None) -> Iterable[bytes]:
        """Return the parts of a stream as a WSGI body, which ends when the client leaves."""
