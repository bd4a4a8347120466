"""The checker on histories written by hand: a sound one, and variants with one thing wrong each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from time import thread_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.consistency import violations as kinds
from tests.consistency.answers import row_text
from tests.consistency.checker import Bounds, check
from tests.consistency.made import EBS, ROLES, Made
from tests.consistency.operations import (
    ACKNOWLEDGED,
    MAYBE,
    PENDING,
    PLUGINS,
    REFUSED,
    STALE,
    Fault,
    Follower,
    Happened,
    Lease,
    Line,
    Read,
)


@pytest.fixture
def made() -> Made:
    """Return a sound history with two nodes; one of them was removed."""
    made = Made()
    for node in ("a", "b", "a"):
        made.report(node)
        made.read()
        made.read(PLUGINS)
    made.remove("b")
    made.read(mode=STALE)
    made.report("a")
    made.read()
    return made


def test_a_sound_history_has_no_violations(made: Made) -> None:
    assert made.kinds() == set()


def test_a_write_that_is_not_kept_is_lost(made: Made) -> None:
    made.report("a", happens=False)
    assert kinds.LOST in made.kinds()


def test_an_unknown_outcome_may_be_either(made: Made) -> None:
    made.report("a", MAYBE)
    made.read()
    made.report("a", MAYBE, happens=False)
    made.read()
    assert made.kinds() == set()


def test_a_refused_write_may_not_happen(made: Made) -> None:
    made.report("a", REFUSED)
    assert made.kinds() == {kinds.REFUSED}


def test_an_index_may_not_be_another_one(made: Made) -> None:
    write = made.report("a")
    write.index += 1
    assert made.kinds() == {kinds.ELSEWHERE}


def test_two_writes_have_two_indexes(made: Made) -> None:
    first, second = made.report("a"), made.report("c")
    second.index = first.index
    assert {kinds.DOUBLED, kinds.DISORDER} <= made.kinds()


def test_a_read_may_not_be_older_than_what_was_acknowledged(made: Made) -> None:
    read = made.read()
    write = made.report("a")
    read.invoked, read.completed = write.completed + 0.1, write.completed + 0.2
    assert made.kinds() == {kinds.OLD}


def test_a_stale_read_may(made: Made) -> None:
    read = made.read(mode=STALE)
    write = made.report("a")
    read.invoked, read.completed = write.completed + 0.1, write.completed + 0.2
    assert made.kinds() == set()


def test_a_read_beside_a_write_may_show_it_or_not(made: Made) -> None:
    read = made.read()
    write = made.report("a")
    read.invoked, read.completed = write.invoked - 0.1, write.completed + 0.1
    assert made.kinds() == set()


@pytest.mark.parametrize(("server", "found"), [("s0", {kinds.BACKWARDS}), ("s1", set[str]())])
def test_stale_reads_go_back_on_another_server_only(
    made: Made, server: str, found: set[str]
) -> None:
    old = made.read(mode=STALE)
    made.report("a")
    made.read(mode=STALE, server=server)
    old.invoked, old.completed = made.now + 1, made.now + 2
    assert made.kinds() == found


def test_content_has_to_match_the_index(made: Made) -> None:
    read = made.read()
    read.content = {**read.content, "a/node": "1", "a/controller": "1"}
    assert made.kinds() == {kinds.MISMATCH}


def test_a_list_has_to_match_its_index(made: Made) -> None:
    made.read(PLUGINS).content = {"ebs0": row_text(1, 2, made.changed)}
    assert made.kinds() == {kinds.MISMATCH}


def test_two_bodies_at_one_index_are_equal(made: Made) -> None:
    made.read().digest = "another"
    assert made.kinds() == {kinds.UNEQUAL}


def test_half_a_report_is_seen(made: Made) -> None:
    read = made.read()
    read.content = {**read.content, "a/node": "1"}
    assert made.kinds() == {kinds.HALF, kinds.MISMATCH}


def _repeat(lines: list[Line]) -> list[Line]:
    return [*lines, lines[-1]]


def _swap(lines: list[Line]) -> list[Line]:
    return [lines[1], lines[0], *lines[2:]]


def _within(lines: list[Line]) -> list[Line]:
    return [replace(lines[0], happened=lines[0].happened[::-1]), *lines[1:]]


def _invent(lines: list[Line]) -> list[Line]:
    other = replace(lines[-1].happened[0], text="never")
    return [*lines[:-1], replace(lines[-1], happened=(*lines[-1].happened, other))]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (_repeat, kinds.REPEATED),
        (_swap, kinds.REORDERED),
        (_within, kinds.REORDERED),
        (_invent, kinds.WRONG),
        (lambda lines: [lines[0], *lines[2:]], kinds.MISSED),
        (lambda lines: lines[:-1], kinds.MISSED),
        (lambda lines: [replace(lines[0], gap=True), *lines[1:]], kinds.MISSED),
    ],
)
def test_a_stream_has_each_event_once_in_order(
    made: Made, change: Callable[[list[Line]], list[Line]], found: str
) -> None:
    made.follower.lines = change(made.follower.lines)
    assert found in made.kinds()


def test_a_stream_from_a_later_index_has_the_rest(made: Made) -> None:
    late = Follower("late", 4, lines=[each for each in made.follower.lines if each.index >= 4])
    made.history.followers.append(late)
    assert made.kinds() == set()


def test_an_event_shows_the_plugin_as_it_was(made: Made) -> None:
    read = made.read()
    line = Line("s0", 2, read.index, shown=((EBS, read.index, read.content),))
    made.history.followers.append(Follower("states", 1, wants=False, lines=[line]))
    assert made.kinds() == set()
    wrong = ((EBS, read.index - 1, read.content),)
    made.history.followers[-1].lines = [replace(line, shown=wrong)]
    assert made.kinds() == {kinds.MISMATCH}


def _parked(made: Made, after_the_change: float, status: str = ACKNOWLEDGED) -> Read:
    read = made.park(0.0, status)
    write = made.report("a")
    if status == ACKNOWLEDGED:
        read.completed = write.completed + after_the_change
        read.index = write.index
    read.content = {f"a/{role}": str(write.number) for role in ROLES}
    made.now = max(made.now, write.completed + after_the_change)
    return read


@pytest.mark.parametrize(
    ("seconds", "status", "found"),
    [
        (0.5, ACKNOWLEDGED, set[str]()),
        (1.5, ACKNOWLEDGED, {kinds.ASLEEP}),
        (0.5, PENDING, set[str]()),
        (1.5, PENDING, {kinds.ASLEEP}),
        (9.0, MAYBE, set[str]()),
    ],
)
def test_a_parked_query_wakes_in_time(
    made: Made, seconds: float, status: str, found: set[str]
) -> None:
    _parked(made, seconds, status)
    assert made.kinds() == found


@pytest.mark.parametrize(("server", "found"), [("s0", set[str]()), ("s1", {kinds.ASLEEP})])
def test_a_fault_of_its_server_gives_a_parked_query_time(
    made: Made, server: str, found: set[str]
) -> None:
    read = _parked(made, 5.0)
    fault = Fault("pause", frozenset([server]), read.invoked, read.completed - 1)
    made.history.faults.append(fault)
    assert made.kinds(Bounds(wake=1.0, recovery=1.0)) == found


def test_the_delay_of_the_machine_is_subtracted(made: Made) -> None:
    _parked(made, 2.0).delay = 1.5
    assert made.kinds() == set()


def test_a_parked_query_does_not_wake_for_nothing(made: Made) -> None:
    read = made.park(5.0)
    read.content = made.read().content
    read.digest = made.read().digest
    assert made.kinds() == {kinds.SPURIOUS}


@pytest.mark.parametrize(("time", "found"), [(149, {kinds.EARLY}), (151, set[str]())])
def test_a_node_is_up_while_its_lease_holds(made: Made, time: int, found: set[str]) -> None:
    made.history.leases += [Lease("a", "s0", 0, 100), Lease("a", "s1", 50, 150)]
    made.history.downs.append(("a", time))
    assert made.kinds() == found


@pytest.mark.parametrize(
    ("begun", "kills", "found"),
    [(7.05, True, set[str]()), (7.05, False, {kinds.EARLY}), (9.0, True, {kinds.EARLY})],
)
def test_a_beat_may_be_lost_with_the_process_that_heard_it(
    made: Made, begun: float, kills: bool, found: set[str]
) -> None:
    made.history.leases.append(Lease("a", "s0", 0, 10**9, answered=7.0))
    made.history.downs.append(("a", 10**9 - 1))
    made.history.faults.append(Fault("f", frozenset(["s0"]), begun, begun, kills))
    assert made.kinds() == found


def test_what_left_has_to_come_back_first(made: Made) -> None:
    made.rows += [Happened(made.index + 1, "b", "ebs0", role, "reason", "77") for role in ROLES]
    assert kinds.CHAIN in made.kinds()


def test_servers_agree_about_the_history(made: Made) -> None:
    other = [*made.rows[:-1], replace(made.rows[-1], text="another")]
    found = check(made.history, {"s0": made.rows, "s1": other})
    assert {each.kind for each in found} == {kinds.DISAGREE}


@pytest.mark.parametrize(("newest", "found"), [(3, set[str]()), (6, {kinds.DISAGREE})])
def test_a_server_may_be_asked_a_moment_earlier(made: Made, newest: int, found: set[str]) -> None:
    made.history.newest = newest
    earlier = [each for each in made.rows if each.index <= 5]
    kept = check(made.history, {"s0": made.rows, "s1": earlier})
    assert {each.kind for each in kept} == found


actions = st.sampled_from(["report", "remove", "read", "list", "maybe"])
steps = st.lists(st.tuples(actions, st.sampled_from("ab")), min_size=3, max_size=40)


@settings(deadline=None, max_examples=150)
@given(steps, st.randoms(use_true_random=False))
def test_any_sound_history_passes_and_one_wrong_answer_is_found(
    script: list[tuple[str, str]], random: Random
) -> None:
    made = Made()
    for action, node in script:
        match action:
            case "report":
                made.report(node)
            case "maybe":
                made.report(node, MAYBE, happens=random.random() < 0.5)
            case "remove" if node in made.numbers:
                made.remove(node)
            case "list" if made.numbers:
                made.read(PLUGINS)
            case _:
                made.read()
    assert made.kinds() == set()
    if reads := [each for each in made.history.reads if each.content]:
        wrong = random.choice(reads)
        wrong.content = {**wrong.content, min(wrong.content): "0"}
        assert kinds.MISMATCH in made.kinds()


def test_time_is_linear_in_the_length_of_a_run() -> None:
    def seconds(length: int) -> float:
        made = Made()
        for number in range(length):
            made.report(f"n{number % 5}")
            made.read()
        made.history.ended = made.now
        begun = thread_time()
        assert check(made.history, {"s0": made.rows}) == []
        return thread_time() - begun

    seconds(100)
    assert seconds(4_000) < 40 * seconds(400), "ten times the length"
