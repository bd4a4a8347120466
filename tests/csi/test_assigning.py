"""Which half each socket of a plugin is, decided from evidence that arrives in any order."""

# A row of a table reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_types.csi.assigning import ALL, NONE, Assignment, Evidence, assign

C, N = frozenset({"controller"}), frozenset({"node"})

A = Evidence("a", served=ALL, born=1)
B = Evidence("b", served=ALL, born=2)


def roles(*sockets: Evidence) -> dict[str, frozenset[str]]:
    return {path: one.roles for path, one in assign(sockets).items()}


@pytest.mark.parametrize(
    ("sockets", "expected"),
    [
        # Alone: all halves.
        ([A], [ALL]),
        ([replace(A, served=None)], [ALL]),
        ([replace(A, listens=False)], [ALL]),
        # Two without evidence: one half each, the older one is the controller.
        ([A, B], [C, N]),
        ([replace(A, born=3), B], [N, C]),
        # Evidence from outside the driver counts most.
        ([replace(A, said=N), B], [N, C]),
        ([replace(A, said=ALL), replace(B, said=ALL)], [ALL, ALL]),
        ([replace(A, said=N, stored_path=C), replace(B, stored_path=C)], [N, C]),
        # Then the halves that the driver serves, and those stored for the task and for the path.
        ([replace(A, served=N, stored_task=C), B], [N, C]),
        ([replace(A, stored_task=N, stored_path=C), B], [N, C]),
        ([replace(A, stored_path=N), B], [N, C]),
        # A half that is stored stays so while the other process is away.
        ([replace(A, stored_path=N)], [N]),
        ([replace(A, stored_path=N), replace(B, stored_path=C, listens=False)], [N, C]),
        # One in a place of its own has all that it serves.
        ([replace(A, whole=True)], [ALL]),
        ([replace(A, whole=True, served=N), B], [N, C]),
        # Allocations of one task are the same half, and both halves if there is no other task.
        ([replace(A, task="t"), replace(B, task="t")], [ALL, ALL]),
        ([replace(A, task="t"), replace(B, task="u")], [C, N]),
        # The half of a process that died is free for the one in its place.
        ([replace(A, said=C, listens=False), replace(A, path="b", born=3), replace(B, path="c", said=N)], [C, C, N]),
        # A socket that never answered, or is dead, splits nothing that may be one process.
        ([A, replace(B, served=None)], [ALL, NONE]),
        ([A, replace(B, listens=False)], [ALL, NONE]),
        ([replace(A, said=C), replace(B, served=None)], [C, N]),
        ([replace(A, said=C), replace(B, listens=False)], [C, N]),
    ],
)  # fmt: skip
def test_roles(sockets: list[Evidence], expected: list[frozenset[str]]) -> None:
    assert roles(*sockets) == {one.path: each for one, each in zip(sockets, expected, strict=True)}


def test_a_third_one_stands_by_until_a_half_is_free() -> None:
    first, second = replace(A, stored_path=C), replace(B, stored_path=N)
    third = Evidence("c", served=ALL, born=3)
    assert assign([first, second, third])["c"] == Assignment(ALL, standby=True)
    assert assign([first, third])["c"] == Assignment(N, certain=True)
    assert assign([replace(first, listens=False), second, third])["c"].roles == C


def test_halves_that_are_certain_enough_to_be_stored() -> None:
    assert not assign([A])["a"].certain, "it may be half of a plugin whose rest is missing yet"
    assert all(one.certain for one in assign([A, B]).values())
    assert not assign([replace(A, said=C), replace(B, served=None)])["b"].certain
    assert assign([replace(A, said=ALL)])["a"].certain


role_sets = st.sampled_from([NONE, C, N, ALL])
evidence = st.builds(
    Evidence,
    path=st.sampled_from("abcdef"),
    said=role_sets,
    whole=st.booleans(),
    served=st.none() | role_sets,
    stored_task=role_sets,
    stored_path=role_sets,
    task=st.sampled_from(["", "t", "u"]),
    listens=st.booleans(),
    born=st.integers(0, 3),
)


@given(st.lists(evidence, unique_by=lambda one: one.path), st.randoms())
def test_any_sockets(sockets: list[Evidence], order: random.Random) -> None:
    found = assign(sockets)
    assert found.keys() == {one.path for one in sockets}
    order.shuffle(sockets)
    assert assign(sockets) == found, "the order in which sockets are found decides nothing"
    for one in sockets:
        if one.said:
            assert found[one.path].roles == one.said
        if one.listens and one.served is not None:
            assert found[one.path].roles, "a driver that answers is always shown as something"


@given(st.lists(evidence, unique_by=lambda one: one.path))
def test_stored_halves_are_assigned_again(sockets: list[Evidence]) -> None:
    """Swap no halves when the agent restarts while any of the processes is down."""
    found = assign(sockets)
    certain = [
        replace(one, stored_path=found[one.path].roles, stored_task=NONE)
        for one in sockets
        if found[one.path].certain
    ]
    for one in certain:
        assert assign([one])[one.path].roles == found[one.path].roles
