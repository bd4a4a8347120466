"""The order in which requests reach the writer."""

from __future__ import annotations

import threading
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from plugind.intake.fair_queue import BATCH_WEIGHT, LARGE, FairQueue
from tests.promises import PATIENCE

Item = tuple[str, str, int]


def drained(queue: FairQueue[Item]) -> list[list[Item]]:
    return list(iter(lambda: queue.take(0), []))


def test_tokens_take_turns_and_nodes_of_a_token_do_too() -> None:
    queue: FairQueue[Item] = FairQueue()
    for number in range(3):
        for node in ("n1", "n2"):
            queue.put(("greedy", node, number), token="greedy", node=node)
    queue.put(("other", "n3", 0), token="other", node="n3")
    (batch,) = drained(queue)
    assert batch == [
        ("greedy", "n1", 0),
        ("other", "n3", 0),
        ("greedy", "n2", 0),
        ("greedy", "n1", 1),
        ("greedy", "n2", 1),
        ("greedy", "n1", 2),
        ("greedy", "n2", 2),
    ]


def test_a_small_request_waits_for_one_large_one_at_most() -> None:
    queue: FairQueue[Item] = FairQueue()
    for number in range(40):
        queue.put(("t", f"liar{number}", 0), token="t", node=f"liar{number}", weight=LARGE)
    assert len(queue.take()) == 1
    for number in range(5):
        queue.put(("t", "honest", number), token="t", node="honest")
        assert queue.take() == [("t", "honest", number)]
        assert queue.take() != [("t", "honest", number)], "large ones are not starved either"


def test_batches_are_bounded() -> None:
    queue: FairQueue[Item] = FairQueue()
    for number in range(100):
        queue.put(("t", "n", number), token="t", node="n", weight=LARGE - 1)
    batches = drained(queue)
    assert max(map(len, batches)) <= BATCH_WEIGHT // (LARGE - 1) + 1
    assert [item for batch in batches for item in batch] == [
        ("t", "n", each) for each in range(100)
    ]


def test_the_age_is_that_of_the_oldest() -> None:
    queue: FairQueue[Item] = FairQueue()
    assert (queue.age, len(queue)) == (0.0, 0)
    queue.put(("t", "n", 0))
    queue.put(("t", "n", 1), weight=LARGE)
    assert len(queue) == 2
    assert queue.age > 0
    drained(queue)
    assert (queue.age, len(queue)) == (0.0, 0)


def test_a_waiting_writer_is_woken_by_a_request_and_by_the_end() -> None:
    queue: FairQueue[Item] = FairQueue()
    taken: list[list[Item]] = []
    writer = threading.Thread(target=lambda: taken.extend(iter(queue.take, [])))
    writer.start()
    queue.put(("t", "n", 0))
    queue.close()
    writer.join(PATIENCE)
    assert taken == [[("t", "n", 0)]]
    queue.put(("t", "n", 1))
    assert queue.take() == [("t", "n", 1)]
    assert queue.take() == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(1, 400))))
def test_nothing_is_lost_and_each_node_keeps_its_order(
    asked: list[tuple[str, str, int]],
) -> None:
    queue: FairQueue[tuple[str, str, bool, int]] = FairQueue()
    numbers = count()
    items = [(token, node, weight >= LARGE, next(numbers)) for token, node, weight in asked]
    for item, (token, node, weight) in zip(items, asked, strict=True):
        queue.put(item, token=token, node=node, weight=weight)
    got = [item for batch in iter(lambda: queue.take(0), []) for item in batch]
    assert sorted(got) == sorted(items)
    for lane in {item[:3] for item in items}:
        of_lane = [item for item in got if item[:3] == lane]
        assert of_lane == sorted(of_lane, key=lambda item: item[3])
