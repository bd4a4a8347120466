"""The last 24 hours of many plugins, hour by hour, for lists: cached, and computed again only for
plugins to which something happened.

While nothing happens to a plugin, its present state goes on, so nothing has to be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from plugind.availability.reading import Availability, Pace, present_of
from plugind.availability.sums import Sums, Window, rate
from plugind.model import PluginKey, Run, history_of
from plugind.model.times import SECOND
from plugind.state import State
from plugind.state.flaps import HOUR

HOURS = 24
AGE = 10 * SECOND
"""Nanoseconds for which the hours of a plugin that changes without pause are kept."""

ROWS_MAXIMUM = 2_000
"""Maximum number of transitions that are looked at for a plugin; if there are more, nothing is
known of earlier hours."""

ROWS_AT_ONCE = 10_000
"""Maximum number of transitions that are looked at for all plugins of a list."""

STALE = 600 * SECOND
"""Nanoseconds for which an outdated strip may still be used while too many others must be read."""

KEPT_MAXIMUM = 20_000

_NONE = Sums()

Strip = list[Sums]
"""The sums of each of the last clock hours, in order; the last hour is not over."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """The sums of hours, which are counted since the epoch, as of the time ``at``, and the ``rate``
    that each further nanosecond adds. ``index`` is that of the last transition."""

    index: int
    at: int
    by_hour: dict[int, Sums]
    rate: Sums

    def until(self, now: int) -> Strip:
        """Return the strip at the time ``now``, if nothing happened until then."""
        last = now // HOUR
        strip = [self.by_hour.get(hour, _NONE) for hour in range(last - HOURS + 1, last + 1)]
        for hour in range(max(self.at // HOUR, last - HOURS + 1), last + 1):
            span = min(now, (hour + 1) * HOUR) - max(self.at, hour * HOUR)
            strip[hour - last - 1] = strip[hour - last - 1].plus(self.rate, span)
        return strip


class Strips:
    """Caches the strips of plugins. Safe for threads: at worst, a strip is computed twice."""

    def __init__(self, availability: Availability) -> None:
        self._availability = availability
        self._kept: dict[PluginKey, _Kept] = {}

    def of(
        self, state: State, keys: Iterable[PluginKey], now: int, pace: Pace = iter
    ) -> dict[PluginKey, Strip]:
        """Return the strip of each plugin, over all its roles. Raise StoreError."""
        if len(self._kept) > KEPT_MAXIMUM:
            self._kept = {}
        found: dict[PluginKey, Strip] = {}
        outdated: dict[PluginKey, _Kept | None] = {}
        for key in pace(keys):
            kept = self._kept.get(key)
            if kept is None or self._is_outdated(kept, state, key, now):
                outdated[key] = kept
            else:
                found[key] = kept.until(now)
        if outdated:
            self._read_all(found, state, outdated, now, pace)
        return found

    def _read_all(
        self,
        found: dict[PluginKey, Strip],
        state: State,
        outdated: Mapping[PluginKey, _Kept | None],
        now: int,
        pace: Pace,
    ) -> None:
        """Read the ``outdated`` strips and add them to ``found``. Those that were read longest ago
        come first, so that each has its turn if there are too many transitions to look at."""
        runs = self._availability.runs((now // HOUR - HOURS + 1) * HOUR, now)
        left = ROWS_AT_ONCE
        longest_first = sorted(outdated.items(), key=lambda each: each[1].at if each[1] else 0)
        for key, kept in pace(longest_first):
            if kept and not left and 0 <= now - kept.at < STALE:
                found[key] = kept.until(now)
                continue
            most = min(left, ROWS_MAXIMUM)
            read, looked = self._read(state, key, now, pace, most, runs)
            left -= looked
            found[key] = read.until(now)
            if looked < most or most == ROWS_MAXIMUM:
                self._kept[key] = read

    def _is_outdated(self, kept: _Kept, state: State, key: PluginKey, now: int) -> bool:
        is_same = kept.index == state.changed_at(history_of(key))
        return now < kept.at or (not is_same and now - kept.at >= AGE)

    def _read(
        self, state: State, key: PluginKey, now: int, pace: Pace, most: int, runs: Sequence[Run]
    ) -> tuple[_Kept, int]:
        """Return a strip, and how many transitions were looked at."""
        last = now // HOUR
        hours = range(last - HOURS + 1, last + 1)
        windows = [Window(hour * HOUR, min((hour + 1) * HOUR, now)) for hour in hours]
        measured = self._availability.of_plugin(state, key, windows, now, pace, most, runs)
        by_hour = dict.fromkeys(hours, Sums())
        for of_group in measured.sums.values():
            for hour, sums in zip(hours, of_group, strict=True):
                by_hour[hour] = by_hour[hour].plus(sums)
        index = state.changed_at(history_of(key))
        return _Kept(index, now, by_hour, rate(present_of(state, key))), measured.looked
