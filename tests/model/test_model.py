"""Intake, store and catalogue against the naive model, over thousands of random steps."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import CatalogueMachine

SOAK = 230.0  # seconds

steps = settings(
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_the_catalogue_says_what_a_naive_recount_says() -> None:
    run_state_machine_as_test(
        CatalogueMachine, settings=settings(steps, max_examples=120, derandomize=True)
    )


@pytest.mark.soak
def test_it_does_so_for_minutes_of_ever_other_steps() -> None:
    until = time.monotonic() + SOAK
    while time.monotonic() < until:
        run_state_machine_as_test(
            CatalogueMachine,
            settings=settings(steps, max_examples=50, stateful_step_count=100),
        )
