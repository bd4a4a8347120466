"""What is told of a target, given what its probes find: in short stories, and whatever happens."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugind.agent.judging import STREAK, Judge
from plugind.agent.lines import Failed, Found
from plugind.plugin_type import Settings

NODE, CONTROLLER = ("x", "node"), ("x", "controller")
GOOD = Found("t", 0, {NODE: {"Healthy": True, "Size": 1}})
BAD = Found("t", 0, {NODE: {"Healthy": False, "HealthDescription": "on fire"}})
FAILED = Failed("t", 0, "no answer")
NOTE = "healthy; probes fail, but fewer than 3 in a row: "


def settings(unhealthy_after: int = 1) -> Settings:
    return Settings(1.0, 1.0, unhealthy_after, 0, 1_000)


def short(told: Found | Failed) -> str:
    """What is told of the node's half: its description, and "!" before that of an unhealthy one."""
    if isinstance(told, Failed):
        return f"!{told.reason}"
    fingerprint = told.instances[NODE]
    text = fingerprint.get("HealthDescription", "healthy" if fingerprint["Healthy"] else "")
    return text if fingerprint["Healthy"] else f"!{text}"


def story(
    outcomes: Iterable[Found | Failed], unhealthy_after: int = 1, took: float = 0.01
) -> list[str]:
    judge = Judge(settings(unhealthy_after))
    return [short(judge.judge(outcome, took)) for outcome in outcomes]


def test_by_default_the_first_failure_counts() -> None:
    assert story([GOOD, FAILED, GOOD, BAD]) == ["healthy", "!no answer", "healthy", "!on fire"]


def test_health_is_kept_until_enough_probes_failed_in_a_row() -> None:
    doubt = f"{NOTE}on fire"
    assert story([GOOD, BAD, FAILED, FAILED, FAILED, GOOD], 3) == [
        *("healthy", doubt, doubt),
        *("!no answer", "!no answer", "healthy"),
    ]


def test_what_never_was_healthy_has_nothing_to_keep() -> None:
    assert story([FAILED, BAD, GOOD], 3) == ["!no answer", "!on fire", "healthy"]


def test_every_other_probe_that_fails_is_said_once_and_until_it_is_over() -> None:
    doubt = f"{NOTE}no answer"
    told = story([GOOD, *[FAILED, GOOD] * 5, GOOD, GOOD, GOOD], 3)
    assert told == ["healthy", *[doubt] * 11, "healthy", "healthy"]


def test_a_half_that_failed_often_enough_takes_no_other_along() -> None:
    judge = Judge(settings(2))
    both = {NODE: {"Healthy": True}, CONTROLLER: {"Healthy": True}}
    judge.judge(Found("t", 0, both), 0.01)
    torn = {"Healthy": False, "HealthDescription": "torn"}
    for _ in range(2):
        told = judge.judge(Found("t", 0, both | {CONTROLLER: torn}), 0.01)
    assert isinstance(told, Found)
    assert told.instances == both | {CONTROLLER: torn}
    told = judge.judge(FAILED, 0.01)
    assert isinstance(told, Found)
    assert told.instances[CONTROLLER] == {"Healthy": False, "HealthDescription": "no answer"}
    assert told.instances[NODE]["Healthy"]
    assert judge.judge(FAILED, 0.01) == FAILED


def test_a_target_that_takes_the_place_of_another_goes_on_with_its_health() -> None:
    first = Judge(settings(2))
    first.judge(GOOD, 0.01)
    second = Judge(settings(2), first)
    assert short(second.judge(FAILED, 0.01)).startswith("healthy; probes fail")
    assert second.judge(FAILED, 0.01) == FAILED


def test_what_left_on_purpose_is_not_kept() -> None:
    judge = Judge(settings(3))
    judge.judge(GOOD, 0.01)
    assert judge.judge(Found("t", 0, {}), 0.01) == Found("t", 0, {})


def test_slow_answers_are_said_once_and_until_it_is_over() -> None:
    judge = Judge(settings())
    times = [0.1, 0.6, 0.1, 0.6, 0.61, 0.62, 0.4, 0.97, 0.2, 0.5, 0.2, 0.2, 0.2, 0.2]
    slow = "healthy; slow: answers take 620ms"
    assert [short(judge.judge(GOOD, took)) for took in times] == [
        *["healthy"] * 5,
        *[slow] * 7,
        *["healthy"] * 2,
    ]


def test_a_slow_one_that_became_unhealthy_is_no_longer_slow() -> None:
    judge = Judge(settings())
    for _ in range(STREAK):
        told = judge.judge(GOOD, 0.7)
    assert short(told) == "healthy; slow: answers take 700ms"
    assert judge.judge(BAD, 0.7) == BAD
    assert short(judge.judge(GOOD, 0.01)) == "healthy"


@pytest.mark.parametrize(
    ("took", "shown"), [(1.6449, "1.6s"), (2.96, "3s"), (0.0513, "51ms"), (12.3, "12s")]
)
def test_times_are_rounded(took: float, shown: str) -> None:
    judge = Judge(Settings(1.0, took * 1.5, 1, 0, 1_000))
    told = [short(judge.judge(GOOD, took)) for _ in range(STREAK)][-1]
    assert told == f"healthy; slow: answers take {shown}"


def test_both_notes_fit_beside_the_types_own_words() -> None:
    judge = Judge(settings(2))
    own = Found("t", 0, {NODE: {"Healthy": True, "HealthDescription": "fine"}})
    for _ in range(STREAK):
        judge.judge(own, 0.7)
    assert short(judge.judge(BAD, 0.7)) == (
        "fine; slow: answers take 700ms; probes fail, but fewer than 2 in a row: on fire"
    )


outcomes = st.lists(st.sampled_from([GOOD, BAD, FAILED]), max_size=30)


@given(outcomes)
def test_without_patience_what_is_found_is_told(found: list[Any]) -> None:
    judge = Judge(settings())
    assert [judge.judge(outcome, 0.01) for outcome in found] == found


@given(outcomes, st.integers(1, 4))
def test_it_is_unhealthy_exactly_after_so_many_failures(found: list[Any], allowed: int) -> None:
    told = [text.startswith("!") for text in story(found, allowed)]
    healthy, failures = False, 0
    for outcome, unhealthy in zip(found, told, strict=True):
        failures = 0 if outcome is GOOD else failures + 1
        healthy = outcome is GOOD or (healthy and failures < allowed)
        assert unhealthy is not healthy


@given(st.lists(st.floats(0, 0.99), max_size=60))
def test_pace_never_changes_its_mind_within_a_streak(times: list[float]) -> None:
    judge = Judge(settings())
    told = [short(judge.judge(GOOD, took)) for took in times]
    lengths = [len(list(run)) for _, run in groupby(told)]
    assert all(length >= STREAK for length in lengths[1:-1])
