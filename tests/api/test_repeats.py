"""Repeating answers is invisible: each equals the one that would be made at that moment."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugind.api.repeats import KEY_MAXIMUM, Repeats
from plugind.serve.front import WAITRESS
from plugind.store.sqlite.published import Published
from plugind.store.sqlite.store import SqliteStore
from tests.api import repeating
from tests.api.repeating import (
    MANAGER,
    MUTANTS,
    NOBODY,
    NODES,
    OTHER,
    READER,
    RIGHTS,
    UNKNOWN,
    Mutant,
    Read,
    Step,
    world,
)
from tests.support import FakeAgent, down, eventually, serving, up

LONG = "mock-plugin0"
IDS = ["a", "b", LONG, "mock-plugin1"]
LIST = "/v1/plugins?type=csi"

PATHS = [
    LIST,
    LIST,
    "/v1/plugins?type=exec",
    "/v1/plugins",
    *(f"/v1/plugin/csi/{id_}" for id_ in ("a", "b", LONG, LONG[:8], "%61", "none")),
    "/v1/plugin/csi/a/history",
    "/v1/plugin/csi/a/availability?since=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00Z",
    "/v1/nodes",
    *(f"/v1/node/{node}" for node in NODES),
    f"/v1/node/{NODES[0]}/allocations",
    "/v1/allocations",
    "/v1/acl/token/self",
    "/v1/acl/tokens",
    "//v1/plugins?type=csi",
]
PARAMETERS = [
    "pretty",
    "pretty=0",
    "%70retty",
    f"filter={quote('ID != a')}",
    f"filter={quote('NodesHealthy < NodesExpected')}",
    "filter=(",
    "prefix=mock",
    "per_page=1",
    "next_token=b",
    "reverse",
    "stale",
    "stale=maybe",
    "namespace=apps",
    "namespace=*",
    "region=global",
    "region=elsewhere",
    "index=0",
    "%69ndex=0",
    "os=true",
    "x=1",
]
READS = st.builds(
    Read,
    st.sampled_from(PATHS),
    st.sampled_from([READER, READER, OTHER, MANAGER, NOBODY, UNKNOWN]),
    st.lists(st.sampled_from(PARAMETERS), max_size=2, unique=True).map(tuple),
    st.sampled_from(["GET", "GET", "GET", "HEAD", "POST"]),
    st.sampled_from([None, None, "gzip", "gzip;q=0", "identity", "*"]),
    st.sampled_from([-1, -1, 0, 1, 2]),
    st.booleans(),
    st.sampled_from([None, None, "", "a secret of the first node's agent"]),
)
FINGERPRINTS = st.sampled_from(
    [None, up(), down(), up(AllocID="11111111-2222-4333-8444-555555555555")]
)
PLUGINS = st.dictionaries(
    st.sampled_from(IDS), st.fixed_dictionaries({"node": FINGERPRINTS}), max_size=4
)
HOLDERS, NUMBERS = st.sampled_from([READER, OTHER]), st.integers(0, 1)
POLICIES = st.sampled_from([READER, READER, OTHER, "anonymous"])


def step(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), st.tuples(*arguments))


CHANGES = st.one_of(
    step("report", NUMBERS, PLUGINS),
    step("report", NUMBERS, PLUGINS),
    step("silence", NUMBERS),
    step("forget", st.sampled_from([f"/v1/plugin/csi/{IDS[0]}", f"/v1/node/{NODES[1]}"])),
    step("declare", st.dictionaries(st.sampled_from(["a", LONG, "z"]), st.integers(1, 3))),
    step("allow", POLICIES, st.sampled_from([*RIGHTS])),
    step("revoke", HOLDERS),
    step("grant", HOLDERS, st.booleans()),
    step("expire"),
    step("degrade", st.sampled_from(["", "x", "y"])),
)


@st.composite
def sequences(draw: st.DrawFn) -> list[Step]:
    """Return changes with the same few reads between them."""
    reads = draw(st.lists(READS, min_size=1, max_size=5))
    asked = [("read", (each,)) for each in reads]
    steps = [*asked]
    for change in draw(st.lists(CHANGES, min_size=1, max_size=8)):
        steps += [change, *asked]
    return steps


FIRST: list[Step] = [
    ("report", (0, {"a": {"node": up()}, "b": {"node": down()}, LONG: {"node": up()}})),
    ("report", (1, {"a": {"node": up()}})),
]


def check(way: str, wire: str, steps: Sequence[Step]) -> None:
    with world(way, wire) as made:
        made.take(FIRST)
        made.take(steps)


WIRES = st.sampled_from(["nomad", "document"])


@pytest.mark.parametrize(("way", "examples"), [("wsgi", 25), ("asgi", 20), (WAITRESS, 6)])
def test_an_answer_that_is_given_again_is_the_one_that_would_be_made(
    way: str, examples: int
) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(WIRES, sequences())
    def run(wire: str, steps: list[Step]) -> None:
        check(way, wire, steps)

    run()


def _each_change() -> list[Step]:
    """Return steps with each kind of change between reads that it affects."""
    plugin, cut = f"/v1/plugin/csi/{LONG}", f"/v1/plugin/csi/{LONG[:8]}"
    packed, tagged = Read(LIST, encoding="gzip"), Read(LIST, match=0)
    reads = [
        *(Read(LIST), packed, Read(LIST, method="HEAD"), tagged, Read(LIST, holder=MANAGER)),
        *(Read(LIST, parameters=["pretty"]), Read(LIST, as_bearer=True), Read(LIST, holder=NOBODY)),
        *(
            Read("/v1/plugin/csi/a"),
            Read(plugin),
            Read(cut),
            Read("/v1/plugins?type=exec"),
            Read("/v1/nodes", holder=OTHER),
        ),
        *(Read("/v1/allocations"), Read(f"/v1/node/{NODES[0]}")),
    ]
    changes: list[Step] = [
        ("report", (0, {"a": {"node": down()}, LONG: {"node": down()}})),
        ("report", (0, {"a": {"node": up()}, LONG: {"node": up()}})),
        ("silence", (0,)),
        ("report", (0, {"a": {"node": up()}, LONG: {"node": up()}})),
        ("report", (1, {"mock-plugin1": {"node": up()}})),
        ("report", (1, {})),
        ("forget", ("/v1/plugin/csi/mock-plugin1",)),
        ("declare", ({"a": 3, "z": 1},)),
        ("degrade", ("x",)),
        ("degrade", ("y",)),
        ("degrade", ("",)),
        *(("allow", (READER, rights)) for rights in ("none", "plugins", "csi", "all")),
        ("allow", ("anonymous", "all")),
        ("allow", ("anonymous", "none")),
        ("revoke", (READER,)),
        ("grant", (READER, True)),
        ("expire", ()),
    ]
    asked: list[Step] = [("read", (each,)) for each in reads]
    return [*asked, *(each for change in changes for each in [change, *asked])]


@pytest.mark.parametrize("way", repeating.WAYS)
def test_each_change_shows_at_once(way: str) -> None:
    with world(way) as made:
        made.take(FIRST)
        made.take(_each_change())
        # On etcd only a stale read is known to be recent enough.
        assert (made.given > 100) is not made.services.store.has_other_servers


@pytest.mark.sqlite
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_fault_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.put(monkeypatch)
    with pytest.raises(AssertionError, match=" had "):
        check("wsgi", "nomad", _each_change())


# Which answers are kept at all.


@pytest.mark.sqlite
def test_a_long_request_is_not_kept() -> None:
    with world("wsgi") as made:
        made.take(FIRST)
        answers = made.services.catalogue.answers
        for length, is_kept in ((KEY_MAXIMUM // 3, True), (KEY_MAXIMUM, False)):
            before = answers.bytes
            made.read(Read(LIST, parameters=[f"x={'y' * length}"]))
            assert (answers.bytes > before) is is_kept


@pytest.mark.sqlite
def test_a_query_that_may_wait_is_not_kept() -> None:
    with world("wsgi") as made:
        made.take(FIRST)
        for parameter in ("index=0", "%69ndex=1", "index=1&wait=1s"):
            made.read(Read(LIST, parameters=[parameter]))
        assert (made.given, made.services.catalogue.answers.bytes) == (0, 0)


@pytest.mark.sqlite
def test_no_memory_is_held_of_rights_that_are_no_longer_in_force() -> None:
    with world("wsgi") as made:
        answers = made.services.catalogue.answers
        del answers.clear  # the world has none
        made.take(FIRST)
        made.read(Read(LIST))
        made.read(Read("/v1/nodes"))
        before, acl = answers.bytes, weakref.ref(made.services.acl)
        made.reload()
        made.read(Read("/v1/nodes"))
        assert 0 < answers.bytes < before
        eventually(lambda: gc.collect() >= 0 and acl() is None)


@pytest.mark.sqlite
def test_what_takes_no_memory_keeps_no_answer(tmp_path: Path) -> None:
    with serving(tmp_path, live=False, server_max_view_memory="0") as api:
        for _ in range(3):
            assert api.call("GET", LIST).status == 200
        assert api.services.catalogue.answers.bytes == 0


# Several processes on one store.


@pytest.mark.sqlite
def test_a_read_is_never_older_than_what_another_process_acknowledged(tmp_path: Path) -> None:
    options: dict[str, Any] = {"live": False, "shared": True, "server_max_parked": "5"}
    with (
        serving(tmp_path, **options) as one,
        serving(tmp_path, **options) as other,
        patch.object(Repeats, "given", autospec=True, side_effect=Repeats.given) as again,
    ):
        agent = FakeAgent(one)
        for number in range(40):
            agent.report({"ebs0": {"node": up(Provider=str(number))}})
            for _ in range(3):
                assert other.call("GET", LIST).index == agent.index
                stale = other.call("GET", f"{LIST}&stale")
                assert stale.index == agent.index, "the read before made it new"
        assert again.call_count >= 40


@pytest.mark.sqlite
def test_the_newest_index_takes_no_look_at_the_disk(tmp_path: Path) -> None:
    """Return it without a wait for the disk, because the loop of an HTTP server asks for it."""
    with closing(SqliteStore(None, tmp_path, shared=True)) as store:
        published = store._wake
        assert isinstance(published, Published)
        assert eventually(store.newest) == store.newest_at_once()
        with patch.object(published, "_look", side_effect=AssertionError):
            eventually(lambda: store.newest_at_once() is None)
