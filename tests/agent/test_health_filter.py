"""The reported health of a target after a series of probes: short examples and random ones."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugind.agent.prober.health_filter import STREAK, HealthFilter
from plugind.agent.protocol import Failed, Found
from plugind.plugin_type import Settings

NODE, CONTROLLER = ("x", "node"), ("x", "controller")
GOOD = Found("t", 0, {NODE: {"Healthy": True, "Size": 1}})
BAD = Found("t", 0, {NODE: {"Healthy": False, "HealthDescription": "on fire"}})
FAILED = Failed("t", 0, "no answer")
NOTE = "healthy; probes fail, but fewer than 3 in a row: "


def settings(unhealthy_after: int = 1) -> Settings:
    return Settings(1.0, 1.0, unhealthy_after, 0, 1_000)


def short(reported: Found | Failed) -> str:
    """Return the description of the node's half, with "!" before that of an unhealthy half."""
    if isinstance(reported, Failed):
        return f"!{reported.reason}"
    fingerprint = reported.instances[NODE]
    text = fingerprint.get("HealthDescription", "healthy" if fingerprint["Healthy"] else "")
    return text if fingerprint["Healthy"] else f"!{text}"


def story(
    outcomes: Iterable[Found | Failed], unhealthy_after: int = 1, took: float = 0.01
) -> list[str]:
    health_filter = HealthFilter(settings(unhealthy_after))
    return [short(health_filter.report(outcome, took)) for outcome in outcomes]


def test_by_default_the_first_failure_counts() -> None:
    assert story([GOOD, FAILED, GOOD, BAD]) == ["healthy", "!no answer", "healthy", "!on fire"]


def test_health_is_kept_until_enough_probes_failed_in_a_row() -> None:
    doubt = f"{NOTE}on fire"
    assert story([GOOD, BAD, FAILED, FAILED, FAILED, GOOD], 3) == [
        *("healthy", doubt, doubt),
        *("!no answer", "!no answer", "healthy"),
    ]


def test_a_target_that_never_was_healthy_has_no_health_to_keep() -> None:
    assert story([FAILED, BAD, GOOD], 3) == ["!no answer", "!on fire", "healthy"]


def test_every_other_probe_that_fails_is_said_once_and_until_it_is_over() -> None:
    doubt = f"{NOTE}no answer"
    reported = story([GOOD, *[FAILED, GOOD] * 5, GOOD, GOOD, GOOD], 3)
    assert reported == ["healthy", *[doubt] * 11, "healthy", "healthy"]


def test_a_half_that_failed_often_enough_takes_no_other_along() -> None:
    health_filter = HealthFilter(settings(2))
    both = {NODE: {"Healthy": True}, CONTROLLER: {"Healthy": True}}
    health_filter.report(Found("t", 0, both), 0.01)
    torn = {"Healthy": False, "HealthDescription": "torn"}
    for _ in range(2):
        reported = health_filter.report(Found("t", 0, both | {CONTROLLER: torn}), 0.01)
    assert isinstance(reported, Found)
    assert reported.instances == both | {CONTROLLER: torn}
    reported = health_filter.report(FAILED, 0.01)
    assert isinstance(reported, Found)
    assert reported.instances[CONTROLLER] == {"Healthy": False, "HealthDescription": "no answer"}
    assert reported.instances[NODE]["Healthy"]
    assert health_filter.report(FAILED, 0.01) == FAILED


def test_a_target_that_takes_the_place_of_another_goes_on_with_its_health() -> None:
    first = HealthFilter(settings(2))
    first.report(GOOD, 0.01)
    second = HealthFilter(settings(2), first)
    assert short(second.report(FAILED, 0.01)).startswith("healthy; probes fail")
    assert second.report(FAILED, 0.01) == FAILED


def test_an_instance_that_left_on_purpose_is_not_kept() -> None:
    health_filter = HealthFilter(settings(3))
    health_filter.report(GOOD, 0.01)
    assert health_filter.report(Found("t", 0, {}), 0.01) == Found("t", 0, {})


def test_slow_answers_are_said_once_and_until_it_is_over() -> None:
    health_filter = HealthFilter(settings())
    times = [0.1, 0.6, 0.1, 0.6, 0.61, 0.62, 0.4, 0.97, 0.2, 0.5, 0.2, 0.2, 0.2, 0.2]
    slow = "healthy; slow: answers take 620ms"
    assert [short(health_filter.report(GOOD, took)) for took in times] == [
        *["healthy"] * 5,
        *[slow] * 7,
        *["healthy"] * 2,
    ]


def test_a_slow_one_that_became_unhealthy_is_no_longer_slow() -> None:
    health_filter = HealthFilter(settings())
    for _ in range(STREAK):
        reported = health_filter.report(GOOD, 0.7)
    assert short(reported) == "healthy; slow: answers take 700ms"
    assert health_filter.report(BAD, 0.7) == BAD
    assert short(health_filter.report(GOOD, 0.01)) == "healthy"


@pytest.mark.parametrize(
    ("took", "shown"), [(1.6449, "1.6s"), (2.96, "3s"), (0.0513, "51ms"), (12.3, "12s")]
)
def test_times_are_rounded(took: float, shown: str) -> None:
    health_filter = HealthFilter(Settings(1.0, took * 1.5, 1, 0, 1_000))
    reported = [short(health_filter.report(GOOD, took)) for _ in range(STREAK)][-1]
    assert reported == f"healthy; slow: answers take {shown}"


def test_both_notes_fit_beside_the_types_own_words() -> None:
    health_filter = HealthFilter(settings(2))
    own = Found("t", 0, {NODE: {"Healthy": True, "HealthDescription": "fine"}})
    for _ in range(STREAK):
        health_filter.report(own, 0.7)
    assert short(health_filter.report(BAD, 0.7)) == (
        "fine; slow: answers take 700ms; probes fail, but fewer than 2 in a row: on fire"
    )


outcomes = st.lists(st.sampled_from([GOOD, BAD, FAILED]), max_size=30)


@given(outcomes)
def test_without_patience_each_result_is_reported(found: list[Any]) -> None:
    health_filter = HealthFilter(settings())
    assert [health_filter.report(outcome, 0.01) for outcome in found] == found


@given(outcomes, st.integers(1, 4))
def test_it_is_unhealthy_exactly_after_so_many_failures(found: list[Any], allowed: int) -> None:
    reported = [text.startswith("!") for text in story(found, allowed)]
    healthy, failures = False, 0
    for outcome, unhealthy in zip(found, reported, strict=True):
        failures = 0 if outcome is GOOD else failures + 1
        healthy = outcome is GOOD or (healthy and failures < allowed)
        assert unhealthy is not healthy


@given(st.lists(st.floats(0, 0.99), max_size=60))
def test_pace_never_changes_its_mind_within_a_streak(times: list[float]) -> None:
    health_filter = HealthFilter(settings())
    reported = [short(health_filter.report(GOOD, took)) for took in times]
    lengths = [len(list(run)) for _, run in groupby(reported)]
    assert all(length >= STREAK for length in lengths[1:-1])
