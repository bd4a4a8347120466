"""The instances that name a process: found on first request, and tracked from then on."""

from __future__ import annotations

from plugind.model import Change, Fingerprint, Instance, InstanceKey, Node, Stamp, Step
from plugind.state import State
from plugind.state.later import Later
from plugind.store.base import Contents

NODES = [Node("n1", "vm1"), Node("n2", "vm2")]
STAMP = Stamp(1, 1, 1, 1)


def instance(node_id: str, plugin: str, alloc_id: str) -> Instance:
    key = InstanceKey(node_id, "csi", plugin, "node")
    return Instance(key, Fingerprint(True, "", 1, alloc_id))


def state_of(*instances: Instance) -> State:
    return State.of(Contents(1, NODES, instances, [], {}))


def change(*steps: Step[Instance]) -> Change:
    return Change(1, (), steps)


def names(state: State, alloc_id: str) -> set[str]:
    return {f"{key.node_id}/{key.id}" for key in state.of_allocation(alloc_id)}


def test_a_process_is_found_by_its_id() -> None:
    state = state_of(instance("n1", "a", "x"), instance("n2", "a", "x"), instance("n1", "b", ""))
    assert names(state, "x") == {"n1/a", "n2/a"}
    assert names(state, "y") == names(state, "") == set()


def test_changes_are_followed_whether_it_was_asked_for_or_not() -> None:
    one, other = instance("n1", "a", "x"), instance("n2", "a", "x")
    for is_asked in (False, True):
        state = state_of(one, other)
        if is_asked:
            assert names(state, "x") == {"n1/a", "n2/a"}
        moved = instance("n1", "a", "y")
        after = state.apply(2, change(Step(one, moved)))
        assert (names(after, "x"), names(after, "y")) == ({"n2/a"}, {"n1/a"})
        gone = after.apply(3, change(Step(moved, None), Step(other, None)))
        assert (names(gone, "x"), names(gone, "y")) == (set(), set())
        back = gone.apply(4, change(Step(None, one), Step(None, other)))
        assert names(back, "x") == {"n1/a", "n2/a"}
        assert names(state, "x") == {"n1/a", "n2/a"}, "a state is a value"
        assert (names(after, "x"), names(after, "y")) == ({"n2/a"}, {"n1/a"})


def test_an_instance_that_changes_otherwise_stays_with_its_process() -> None:
    one = instance("n1", "a", "x")
    state = state_of(one)
    assert names(state, "x") == {"n1/a"}
    sick = one.changed(fingerprint=one.fingerprint.changed(healthy=False))
    assert names(state.apply(2, change(Step(one, sick))), "x") == {"n1/a"}


def test_a_later_value_is_made_once_and_for_the_first_who_asks() -> None:
    made: list[int] = []
    later = Later(lambda: made.append(1) or len(made))  # type: ignore[func-returns-value]
    assert made == []
    assert [later.get(), later.get()] == [1, 1]


def test_usage_is_the_same_whether_it_was_loaded_or_followed() -> None:
    one, other = instance("n1", "a", "x"), instance("n2", "b", "y")
    loaded = state_of(one, other)
    followed = state_of(one).apply(2, change(Step(None, other)))
    assert loaded.usage == followed.usage
    assert loaded.usage.total.instances == 2
