"""The parts of the server that pages need, and the look that every page starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from plugind.api.endpoints import Call
from plugind.api.request import Signal
from plugind.availability.strips import Strips
from plugind.catalogue import Catalogue
from plugind.filtering import Fields
from plugind.health import Health
from plugind.intake import Intake
from plugind.plugin_type import PluginType
from plugind.store.paging import Select
from plugind.ui.availability import AvailabilityOf
from plugind.ui.changes import Changes
from plugind.ui.facts import Facts, FactsOf
from plugind.ui.sight import Sight
from plugind.ui.throttle import Throttle
from plugind.wire.addresses import Networks


@dataclass(frozen=True, slots=True)
class UiParts:
    """The parts that the pages need.

    ``select`` reads the history, ``strips`` keeps the last 24 hours of plugins, ``row_fields`` has
    the fields of rows by plugin type, ``condition`` returns the server's health, ``limits_reached``
    counts how often each limit was reached, ``packages`` names the package of each type, and
    ``broken`` returns the packages that cannot be used. ``store_size`` returns the bytes of the
    store's files, None if unknown. ``changes`` wakes the streams of pages, ``streams`` counts the
    open streams and ``parked`` the waiting queries, ``history_kept`` says how long history is kept,
    and ``signal`` makes signals of the HTTP server. ``throttle`` limits attempts to sign in, and
    ``trusted`` are the proxies whose headers are believed.
    """

    catalogue: Catalogue
    intake: Intake
    facts: FactsOf
    availability: AvailabilityOf
    strips: Strips
    select: Select
    types: Mapping[str, PluginType]
    row_fields: Mapping[str, Fields]
    condition: Callable[[], Health]
    limits_reached: Callable[[], Mapping[str, int]]
    packages: Mapping[str, str]
    broken: Callable[[], Sequence[str]]
    store_size: Callable[[], int | None]
    changes: Changes
    signal: Callable[[], Signal]
    streams: Callable[[], int]
    parked: Callable[[], int]
    history_kept: str
    throttle: Throttle
    name: str
    region: str
    trusted: Networks = ()


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the catalogue, for a page: one state, and what the caller may see of it."""

    call: Call[UiParts]
    sight: Sight
    facts: Facts

    @classmethod
    def of(cls, call: Call[UiParts]) -> Look:
        """Return a look at the present state."""
        parts = call.parts
        sight = Sight.of(call.authorizer, call.asked.types)
        return cls(call, sight, parts.facts.of(parts.catalogue.state))

    @property
    def parts(self) -> UiParts:
        return self.call.parts

    def asked(self, name: str) -> str:
        """Return a parameter of the query, "" if it is not given."""
        return self.call.asked.query.get(name, "")
