"""The health of the server, gathered from its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

from plugind.api.access_log import AccessLog
from plugind.catalogue import Catalogue
from plugind.events.broker import Broker
from plugind.feed.feed import Feed
from plugind.feed.hooks import Announcer
from plugind.feed.liveness import Liveness
from plugind.health import Finding, Health
from plugind.health.threads import OwnedThread, threads_health
from plugind.intake import Intake
from plugind.serve.peers import LIMITS_REACHED, NODES_CLONED
from plugind.serve.timer import Timer
from plugind.store.base import Store
from plugind.types.registry import Registry

_LATE = 2.0
"""Seconds that a change may wait to be written before health reports it."""


class Conditions:
    """The parts of a server that have something to report.

    ``refused_reload`` is why the last reload of the configuration failed, "" if it did not;
    ``other_declarations`` names the plugins that the store expects with other settings than the
    configuration has.
    """

    def __init__(
        self,
        *,
        store: Store,
        feed: Feed,
        catalogue: Catalogue,
        timer: Timer,
        intake: Intake,
        liveness: Liveness,
        registry: Registry,
        announcer: Announcer,
        events: Broker,
        access_log: AccessLog | None,
        limits_reached: Callable[[], Mapping[str, int]],
    ) -> None:
        self.refused_reload = ""
        self.other_declarations = ""
        self._store = store
        self.threads: list[Callable[[], Iterable[OwnedThread]]] = [
            lambda: (feed.thread, timer.thread, liveness.thread, events.thread),
            lambda: announcer.threads,
            lambda: [intake.thread, *(each.guard.thread for each in catalogue.typed.values())],
        ]
        """Functions that return the threads that health reports; the HTTP server adds its own."""
        self._feed = feed
        self._catalogue = catalogue
        self._intake = intake
        self._registry = registry
        self._announcer = announcer
        self._access_log = access_log
        self._limits_reached = limits_reached

    @property
    def dead_threads(self) -> list[OwnedThread]:
        """Return the threads that died and that this process cannot restart."""
        return [each for some in self.threads for each in some() if each.is_dead]

    def _check_store(self) -> Iterator[Finding]:
        if trouble := self._store.trouble:
            yield Finding("troubles of the store", trouble)
        if self.other_declarations:
            details = (
                f"the store expects {self.other_declarations} otherwise than the configuration: "
                "plugind reload writes what the configuration has"
            )
            yield Finding("declarations not written", details)

    def health(self) -> Health:
        """Return whether the last change could be written, and what an operator should know."""
        failures = [each.trouble for each in (self._intake, self._feed) if each.trouble]
        results = [Finding("failures to write", each) for each in failures[:1]]
        threads = threads_health(chain.from_iterable(each() for each in self.threads))
        results += threads.findings
        if broken := self._registry.broken:
            results.append(Finding("packages that cannot be used", "; ".join(broken), len(broken)))
        if troubles := self._announcer.troubles:
            details = "; ".join(troubles)
            results.append(Finding("packages that missed changes", details, len(troubles)))
        guards = [each.guard for each in self._catalogue.typed.values()]
        if failing := [each.trouble for each in guards if each.trouble]:
            results.append(Finding("plugin types that fail", "; ".join(failing), len(failing)))
        if cloned := sum(bool(each.cloned_since) for each in self._feed.state.nodes.values()):
            details = f"as {cloned} of the nodes two agents report each"
            results.append(Finding(NODES_CLONED, details, cloned))
        if self._access_log and self._access_log.trouble:
            results.append(Finding("failures of the access log", self._access_log.trouble))
        waiting, age = self._intake.waiting
        if age > _LATE:
            details = f"the oldest of {waiting} changes has waited {age:.0f} s to be written"
            results.append(Finding("changes that wait to be written", details, waiting))
        if counts := self._limits_reached():
            reached = ", ".join(f"{limit} {count:,} times" for limit, count in counts.items())
            details = f"limits on clients were reached: {reached}"
            results.append(Finding(LIMITS_REACHED, details, sum(counts.values())))
        results += self._check_store()
        if self.refused_reload:
            details = f"the configuration was not reloaded: {self.refused_reload}"
            results.append(Finding("failed reloads", details))
        return Health(ok=not failures and threads.ok, findings=tuple(results))
