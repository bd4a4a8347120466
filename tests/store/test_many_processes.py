"""Processes that write to and follow one store at once, some killed at random: every follower sees
every change once, in the same order, and an acknowledged change is visible to all before it is
acknowledged."""

from __future__ import annotations

import os
import random
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from plugind.store.base import FIRST_INDEX
from plugind.store.sqlite import SqliteStore
from plugind.testing.stores.making import commit, node, put
from tests.promises import PATIENCE
from tests.store.children import Child, child

WRITES_AND_FOLLOWS = """
import struct
start, count = int(sys.argv[2]), int(sys.argv[3])
seen = []
def follow():
    for batch in store.follow(1, threading.Event()):
        seen.extend((each.index, each.change.id) for each in batch)
follower = threading.Thread(target=follow, daemon=True)
follower.start()
say("ready"); hear()
for number in range(count):
    (change,) = blind(start + number % 200)
    (index,) = store.commit([change])
    if int.from_bytes((folder / "index").read_bytes(), sys.byteorder) < index:
        say("unpublished", index)
    say("ack", index, change.id)
say("done")
until = int(hear())
while not seen or seen[-1][0] < until: time.sleep(0.01)
for index, id_ in seen: say(index, id_)
say("end")
os._exit(0)
"""
KILLED = """
start, number = int(sys.argv[2]), 0
say("ready"); hear()
while True:
    (change,) = blind(start + number % 200, 1); number += 1
    (index,) = store.commit([change])
    say("ack", index, change.id)
"""
WRITERS, CHANGES = 3, 60
ROUNDS, KILLED_AT_ONCE = 6, 3


def shared(folder: Path) -> closing[SqliteStore]:
    return closing(SqliteStore(None, folder, shared=True))


def acknowledged(writer: Child) -> dict[int, str]:
    """Return a writer's answers, until its line "done" or its end."""
    found = {}
    while (line := writer.hear()) and line != "done":
        word, index, id_ = line.split()
        assert word == "ack", line
        found[int(index)] = id_
    return found


def test_all_see_one_order_without_gap_or_repeat(tmp_path: Path) -> None:
    with ExitStack() as stack, shared(tmp_path) as store:
        writers = [
            stack.enter_context(child(tmp_path, WRITES_AND_FOLLOWS, 1_000 * each, CHANGES))
            for each in range(WRITERS)
        ]
        assert {each.hear() for each in writers} == {"ready"}
        for each in writers:
            each.say()
        acks: dict[int, str] = {}
        for each in writers:
            acks |= acknowledged(each)
        last = FIRST_INDEX + WRITERS * CHANGES
        assert sorted(acks) == list(range(FIRST_INDEX + 1, last + 1))
        assert store.newest() == last
        for each in writers:
            each.say(str(last))
            followed = []
            while (line := each.hear()) != "end":
                index, id_ = line.split()
                followed.append((int(index), id_))
            assert followed == sorted(acks.items())


def test_writers_killed_at_random_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    seed = int(os.environ.get("PLUGIND_TEST_SEED", time.time_ns() % 10**6))
    print(f"seed {seed}")
    chance = random.Random(seed)
    acks: dict[int, str] = {}
    with shared(tmp_path) as store:
        for number in range(ROUNDS):
            with ExitStack() as stack:
                starts = [1_000 * each for each in range(KILLED_AT_ONCE)]
                writers = [stack.enter_context(child(tmp_path, KILLED, each)) for each in starts]
                assert {each.hear() for each in writers} == {"ready"}
                for each in writers:
                    each.say()
                for each in chance.sample(writers, len(writers)):
                    time.sleep(chance.uniform(0.0, 0.2))
                    each.kill()
                    acks |= acknowledged(each)
                    assert store.newest() >= max(acks, default=0)
            (index,) = commit(store, put(node(9_000 + number)))
            assert index > max(acks, default=0), "the lock is free, and no index was given twice"
            acks[index] = store.read(index - 1)[0].change.id
    assert len(acks) > ROUNDS, "too few writes to say anything"
    with closing(SqliteStore(None, tmp_path)) as again:
        log = {each.index: each.change.id for each in again.read(FIRST_INDEX, 100_000)}
        assert list(log) == list(range(FIRST_INDEX + 1, FIRST_INDEX + 1 + len(log)))
        assert acks.items() <= log.items()
        assert again.load().index == max(log)
    assert SqliteStore.check(None, tmp_path).index == max(log)


@pytest.mark.timeout(PATIENCE * 3)
def test_a_follower_goes_on_when_all_writers_die(tmp_path: Path) -> None:
    with shared(tmp_path) as store, child(tmp_path, KILLED, 0) as writer:
        assert writer.hear() == "ready"
        writer.say()
        first = writer.hear()
        writer.kill()
        acks = acknowledged(writer)
        last = max(acks, default=int(first.split()[1]))
        assert store.wait(last - 1, PATIENCE)
        assert [each.index for each in store.read(FIRST_INDEX, 10_000)][: last - 1] == list(
            range(FIRST_INDEX + 1, last + 1)
        )
