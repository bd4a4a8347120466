"""All sockets together, without drivers: the halves that each reports, given all results."""

from __future__ import annotations

from typing import Any

import pytest

from plugin_types.csi.examiner import Behind, Examination
from plugin_types.csi.facts import Facts
from plugin_types.csi.finding import Target
from plugin_types.csi.ledger import Ledger
from plugin_types.csi.nomad import Task, layout_of
from plugin_types.csi.register import Register, Results

ALLOCS = {
    name: f"{number:08d}-0000-4000-8000-000000000000" for number, name in enumerate(("a", "b", "c"))
}
BOTH = {("ebs0", "controller"), ("ebs0", "node")}


def target(name: str, born: int = 1) -> Target:
    """Return the target of a socket in Nomad's new layout."""
    path = f"/v/csi/plugins/{ALLOCS[name]}/csi.sock"
    return Target(path, "ebs0", file=(1, born, born * 1_000_000), layout=layout_of(path))


def answered(*roles: str, name: str = "ebs.example", **behind: Any) -> Examination:
    details = {role: {"Provider": name} for role in roles or ("controller", "node")}
    return Examination("", True, Facts(name, details, {}), {}, Behind(**behind))


DEAD = Examination("nothing listens")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def register(clock: Clock) -> Register:
    return Register(60.0, Ledger(), clock)


def probe(register: Register, one: Target, found: Examination) -> Results:
    register.begin(one.path)
    return register.conclude(one, found)


def test_a_half_moves_only_once_the_core_knows_its_new_socket(register: Register) -> None:
    """Leave no moment without the half in either socket, or it would count as gone on purpose."""
    a, b = target("a", 1), target("b", 2)
    assert probe(register, a, answered()).keys() == BOTH
    assert probe(register, b, answered()).keys() == {("ebs0", "node")}
    assert probe(register, a, answered()).keys() == BOTH, "b's results may be on their way"
    assert probe(register, b, answered()).keys() == {("ebs0", "node")}
    assert probe(register, a, answered()).keys() == {("ebs0", "controller")}


def test_a_half_that_is_kept_for_the_moment_has_the_lowest_rank(register: Register) -> None:
    a, b = target("a", 1), target("b", 2)
    probe(register, a, answered())
    new = probe(register, b, answered())
    old = probe(register, a, answered())

    def rank(results: Results) -> int:
        return int(results["ebs0", "node"]["Succession"]["Rank"])

    assert rank(new) > rank(old)
    assert rank(probe(register, b, DEAD)) > rank(old)


@pytest.mark.parametrize("away", ["a", "b"])
def test_a_restart_while_one_half_is_away_swaps_nothing(register: Register, away: str) -> None:
    a, b = target("a", 1), target("b", 2)
    for _ in range(3):
        for one in (a, b):
            probe(register, one, answered())
    again = Register(60.0, register.ledger)
    one, role = (b, "node") if away == "a" else (a, "controller")
    assert probe(again, one, answered()).keys() == {("ebs0", role)}
    new = target("c", 3)
    other = "controller" if away == "a" else "node"
    assert probe(again, new, answered()).keys() == {("ebs0", other)}


def test_a_task_keeps_its_half_under_any_path(register: Register) -> None:
    tasks = {name: Task(ALLOCS[name], job=name, group="g", task="t") for name in "ab"}
    for _ in range(3):
        for number, name in enumerate("ab"):
            probe(register, target(name, number + 1), answered(task=tasks[name]))
    again = Register(60.0, register.ledger)
    moved = Task(ALLOCS["c"], job="b", group="g", task="t")
    assert probe(again, target("c", 9), answered(task=moved)).keys() == {("ebs0", "node")}


def test_mounts_say_more_than_what_was_stored(register: Register) -> None:
    a = target("a")
    probe(register, a, answered(mounted=("ebs0", frozenset({"node"}))))
    found = probe(register, a, answered(mounted=("nfs0", frozenset({"controller"}))))
    assert found.keys() == {("nfs0", "controller")}
    assert probe(register, a, DEAD).keys() == {("nfs0", "controller")}


def test_nomads_role_that_the_driver_does_not_have(register: Register) -> None:
    found = answered("node", mounted=("ebs0", frozenset({"controller"})))
    ((key, one),) = probe(register, target("a"), found).items()
    assert key == ("ebs0", "controller")
    reason = "the driver has no Controller service, but Nomad runs it as one that has"
    assert (one["Healthy"], one["HealthDescription"]) == (False, reason)


def test_a_driver_that_was_dead_for_long_leaves(register: Register, clock: Clock) -> None:
    a = target("a")
    probe(register, a, answered())
    assert probe(register, a, DEAD).keys() == BOTH
    clock.now += 61
    assert probe(register, a, DEAD) == {}
    again = Register(60.0, register.ledger, clock)
    assert probe(again, a, DEAD) == {}, "it left, and stays away"
    assert probe(again, a, answered()).keys() == BOTH
    assert probe(again, a, DEAD).keys() == BOTH


def test_a_driver_that_died_while_no_agent_ran_is_reported_once(
    register: Register, clock: Clock
) -> None:
    """Report a dead driver once, since an agent can remove only what it has reported."""
    a = target("a")
    probe(register, a, answered())
    probe(register, a, DEAD)
    clock.now += 61
    again = Register(60.0, register.ledger, clock)
    assert probe(again, a, DEAD).keys() == BOTH
    assert probe(again, a, DEAD) == {}


def test_a_clock_that_was_set_back_keeps_nothing_forever(register: Register, clock: Clock) -> None:
    a = target("a")
    probe(register, a, answered())
    probe(register, a, DEAD)
    clock.now -= 500_000
    assert probe(register, a, DEAD).keys() == BOTH
    clock.now += 61
    assert probe(register, a, DEAD) == {}


def test_a_socket_that_never_answered_beside_a_whole_driver_is_reported(register: Register) -> None:
    a, b = target("a", 1), target("b", 2)
    hung = Examination("no answer to Probe within 3s", listens=True)
    probe(register, a, answered())
    assert probe(register, b, hung) == {}
    assert register.hidden == (
        f"{b.path}: it is not known which half of ebs0 it is: no answer to Probe within 3s"
    )
    assert register.leave(b.path) == [a.path]
    assert register.hidden == ""
