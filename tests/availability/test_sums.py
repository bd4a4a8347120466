"""The sums of availability equal those of a count second by second, whatever happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugind.availability.sums import Group, Present, Sums, Window, rate, sums_of
from plugind.model import (
    APPEARED,
    DOWN,
    EXPECTED,
    FLAPPING,
    HEALTHY,
    LEFT,
    UNHEALTHY,
    InstanceKey,
    Run,
    Transition,
)
from plugind.model.changes import expected_in, expected_text
from plugind.model.times import SECOND
from plugind.state.flaps import HOUR
from tests.availability.worlds import LIVES, ROLES, naive, world_of

KEY = InstanceKey("n", "t", "p", "node")
GROUP = Group("t", "node")
ALWAYS = [Run("r", 0, 10**6 * SECOND)]


@settings(max_examples=1_000)
@given(life=LIVES, data=st.data())
def test_they_are_those_of_counting_each_second(life: list[Any], data: st.DataObject) -> None:
    world = world_of(life)
    seconds = st.integers(0, world.now)
    spans = st.lists(st.tuples(seconds, seconds).map(sorted), min_size=1, max_size=3)
    windows = [Window(a * SECOND, b * SECOND) for a, b in data.draw(spans)]
    runs = [Run(str(n), a * SECOND, b * SECOND) for n, (a, b) in enumerate(data.draw(spans))]
    rows = world.newest_first
    begin = min(window.start for window in windows)
    # Rows from before the windows may be pruned, unless they are flapping until later.
    while data.draw(st.booleans()) and rows and max(rows[-1].time, rows[-1].until) <= begin:
        gone = rows.pop()
        if gone.kind == LEFT:  # the fact that it was seen before is lost, too
            return
    found = sums_of(rows, world.present, windows, runs, world.now * SECOND)
    for role in ROLES:
        for number, window in enumerate(windows):
            wanted = naive(world, role, window, runs)
            got = found.get(Group("t", role), [Sums()] * len(windows))[number]
            for name, seconds_ in vars(wanted).items():
                assert getattr(got, name) / SECOND == pytest.approx(seconds_, abs=1e-6), name


def row(kind: str, time: int, before: str, after: str, **more: Any) -> Transition:
    at = time * SECOND
    since = more.pop("since", time) * SECOND
    return Transition(
        kind, at, since, "t", "p", "node", "n", "n", before, after, "", after == HEALTHY, **more
    )


def over(
    rows: Sequence[Transition],
    present: str = "",
    declared: int | None = None,
    runs: Sequence[Run] = ALWAYS,
    seconds: int = 100,
) -> Sums:
    now = Present({KEY: present} if present else {}, {} if declared is None else {GROUP: declared})
    found = sums_of(rows, now, [Window(0, seconds * SECOND)], runs, seconds * SECOND)
    (sums,) = found.get(GROUP, [Sums()])
    return Sums(*(each / SECOND for each in sums))


def test_what_nothing_happened_to_was_as_it_is() -> None:
    assert over([], HEALTHY) == Sums(100, 0, 0, 100, 100, 100)
    assert over([], UNHEALTHY) == Sums(0, 0, 0, 100, 0, 100)
    assert over([], DOWN).node_down == 100
    assert over([]).availability is None
    assert over([]).any_share is None


def test_a_declared_plugin_that_was_never_seen_is_unavailable_from_its_declaration() -> None:
    declared = Transition(EXPECTED, 40 * SECOND, 0, "t", "p", "", "", "", "", "node: 3", "", False)
    found = over([declared], declared=3)
    assert (found.observed, found.healthy, found.availability) == (180, 0, 0)


def test_a_node_that_is_down_counts_as_down_since_it_was_heard() -> None:
    rows = [row(UNHEALTHY, 60, HEALTHY, DOWN, since=30), row(APPEARED, 10, "", HEALTHY)]
    found = over(rows, DOWN)
    assert (found.healthy, found.node_down, found.unhealthy, found.observed) == (20, 70, 0, 90)


def test_a_row_of_before_the_word_down_counts_as_unhealthy() -> None:
    rows = [row(UNHEALTHY, 60, HEALTHY, UNHEALTHY, since=30)]
    found = over(rows, DOWN)
    assert (found.healthy, found.unhealthy, found.node_down) == (60, 40, 0)


def test_time_without_a_server_is_unknown() -> None:
    runs = [Run("a", 0, 20 * SECOND), Run("b", 50 * SECOND, 100 * SECOND)]
    found = over([row(UNHEALTHY, 60, HEALTHY, UNHEALTHY)], UNHEALTHY, runs=runs)
    assert (found.healthy, found.unhealthy, found.unknown, found.observed) == (30, 40, 30, 70)
    assert over([], HEALTHY, runs=()).availability is None


def test_the_time_from_forgotten_to_seen_again_is_unknown() -> None:
    rows = [row(APPEARED, 70, "", HEALTHY), row(LEFT, 20, UNHEALTHY, "")]
    found = over(rows, HEALTHY)
    assert (found.healthy, found.unhealthy, found.unknown) == (30, 20, 50)
    assert over(rows[1:]).unknown == 0, "it was not seen again"
    found = over(rows, HEALTHY, declared=1)
    assert (found.healthy, found.unhealthy, found.unknown) == (30, 70, 0), "it was declared"


def test_a_row_of_flapping_stands_for_its_healthy_seconds() -> None:
    flapping = row(FLAPPING, 20, HEALTHY, UNHEALTHY, healthy_seconds=15, until=60 * SECOND)
    found = over([flapping], UNHEALTHY)
    assert (found.healthy, found.unhealthy) == pytest.approx((20 + 15, 25 + 40))


def test_an_old_row_of_flapping_stands_for_the_rest_of_its_hour() -> None:
    hour = HOUR // SECOND
    flapping = row(FLAPPING, hour - 40, HEALTHY, UNHEALTHY, healthy_seconds=10)
    found = over([flapping], UNHEALTHY, seconds=hour + 100)
    assert (found.healthy, found.unhealthy) == pytest.approx((hour - 40 + 10, 30 + 100))


def test_the_rate_is_what_one_more_second_adds() -> None:
    other = InstanceKey("m", "t", "p", "node")
    present = Present({KEY: HEALTHY, other: DOWN}, {Group("t", "controller"): 2})
    windows = [Window(0, 10), Window(0, 11)]
    totals = [Sums(), Sums()]
    for of_group in sums_of([], present, windows, ALWAYS, 11).values():
        totals = [one.plus(more) for one, more in zip(totals, of_group, strict=True)]
    assert totals[0].plus(rate(present)) == totals[1]


@given(st.dictionaries(st.from_regex(r"[a-z]{1,20}", fullmatch=True), st.integers(0, 10**6)))
def test_expected_numbers_are_read_as_they_were_written(expected: dict[str, int]) -> None:
    text = expected_text(expected)
    if len(text) < 250:
        assert expected_in(text) == expected


def test_a_number_that_may_be_cut_is_left_out() -> None:
    many = {f"role{number:02d}": 1234 for number in range(40)}
    cut = expected_text(many)[:256]
    assert expected_in(cut).items() < many.items()
    assert expected_in("") == expected_in("nonsense") == {}


def test_the_example_of_the_document() -> None:
    """Compute the numbers of the example in docs/history.md, in minutes since 10:00."""
    other = InstanceKey("vm2", "t", "p", "node")
    minute = 60 * SECOND

    def at(kind: str, time: int, before: str, after: str, **more: Any) -> Transition:
        return row(kind, 60 * time, before, after, **more).changed(node_id="vm2")

    rows = [
        row(UNHEALTHY, 60 * 71, HEALTHY, DOWN, since=60 * 70),
        at(HEALTHY, 45, UNHEALTHY, HEALTHY),
        at(UNHEALTHY, 30, HEALTHY, UNHEALTHY),
        at(APPEARED, 15, "", HEALTHY),
        row(APPEARED, 0, "", HEALTHY),
    ]
    present = Present({KEY: DOWN, other: HEALTHY}, {GROUP: 2})
    runs = [Run("a", 0, 80 * minute), Run("b", 90 * minute, 120 * minute)]
    window = Window(0, 120 * minute)
    (found,) = sums_of(rows, present, [window], runs, 120 * minute)[GROUP]
    minutes = (found.healthy, found.unhealthy, found.node_down, found.observed, found.unknown)
    assert [each / minute for each in minutes] == [150, 30, 40, 220, 20]
    assert found.availability == pytest.approx(150 / 220)
    assert found.any_share == 1
