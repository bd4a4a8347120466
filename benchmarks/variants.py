"""The cost of logging and metrics: the rate of a read with them, compared with it without them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field

from benchmarks.context import Context, config
from benchmarks.fleets import Fleet
from benchmarks.load import Load, wrk
from benchmarks.reads import CONNECTIONS, warm
from benchmarks.results import Reach, Row
from benchmarks.servers import Front, Server, ask, plugind
from benchmarks.writes import row_of

SCRAPE_EVERY = 1.0


@dataclass(frozen=True)
class Variant:
    """The rate of a read while requests are ``logged``, or while metrics are ``scraped``."""

    name: str
    what: str
    fleet: Fleet
    path: str
    fronts: tuple[Front, ...]
    logged: bool = False
    scraped: bool = False
    reaches: Mapping[str, Reach] = field(default_factory=dict)
    is_long: bool = False

    @property
    def order(self) -> str:
        return f"variants {self.fleet.name}"

    def measure(self, context: Context, front: Front) -> list[Row]:
        folder = context.data(self.fleet)
        more = {"--server-access-log": str(folder / "access.log")} if self.logged else {}
        with ExitStack() as until_end:
            plain = until_end.enter_context(plugind(context.data(self.fleet), config(), front))
            other = until_end.enter_context(plugind(folder, config(), front, more))
            for server in (plain, other):
                warm(server, {}, lambda number: self.path)
            pairs = context.alternate(
                lambda: self._load(context, plain),
                lambda: self._load(context, other, scraped=self.scraped),
            )
        return [row_of(self, front, "without", pairs)]

    def _load(self, context: Context, server: Server, *, scraped: bool = False) -> Load:
        with _scraping(server) if scraped else nullcontext():
            return wrk(server, self.path, seconds=context.seconds, connections=CONNECTIONS)


@contextmanager
def _scraping(server: Server) -> Iterator[None]:
    """Read the server's metrics each second while the block runs."""
    is_over = threading.Event()

    def scrape() -> None:
        while True:
            ask(server.port, "/v1/metrics?format=prometheus")
            if is_over.wait(SCRAPE_EVERY):
                return

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
