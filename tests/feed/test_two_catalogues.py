"""Two catalogues that follow one store return the same bytes, whichever process wrote changes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugind.catalogue import Catalogue
from plugind.errors import PlugindError
from plugind.feed.feed import Feed
from plugind.intake import Intake
from plugind.model import Declaration, PluginKey
from plugind.schemas.nodes import STUBS, Report
from plugind.schemas.plugins import PluginSchemas
from plugind.state import State
from plugind.store.sqlite import SqliteStore
from plugind.types.registry import load_registry
from tests.promises import PATIENCE
from tests.support import taken

NODES = [f"11111111-2222-4333-8444-55555555000{number}" for number in range(3)]
PLUGINS = ["a", "b", "ebs-0123456789"]
REGISTRY = load_registry()
SCHEMAS = {name: PluginSchemas.of(type_) for name, type_ in REGISTRY.types.items()}

fingerprints = st.fixed_dictionaries(
    {"Healthy": st.booleans()},
    optional={
        "HealthDescription": st.sampled_from(["fire", "flood"]),
        "ProviderVersion": st.sampled_from(["1", "2"]),
        "AllocID": st.sampled_from(["alloc-1", "alloc-2"]),
    },
)
plugins = st.dictionaries(
    st.sampled_from(PLUGINS),
    st.dictionaries(st.sampled_from(["node", "controller"]), fingerprints, min_size=1),
)
nodes = st.sampled_from(NODES)
actions = st.one_of(
    st.tuples(st.just("report"), nodes, plugins),
    st.tuples(st.just("silence"), nodes),
    st.tuples(st.just("back"), nodes),
    st.tuples(st.just("forget_node"), nodes),
    st.tuples(st.just("forget_plugin"), st.sampled_from(PLUGINS)),
    st.tuples(st.just("declare"), st.dictionaries(st.sampled_from(PLUGINS), st.integers(0, 3))),
    st.tuples(st.just("collect")),
)


def act(intake: Intake, feed: Feed, action: Any) -> None:
    name, *given_ = action
    match name:
        case "report":
            node_id, of = given_
            taken(intake, node_id, "s", Report("vm", plugins={"csi": of}))
        case "silence":
            intake.silence(given_)
        case "forget_plugin":
            intake.forget_plugin(PluginKey("csi", given_[0]))
        case "declare":
            intake.declare(
                Declaration(PluginKey("csi", id_), {"node": count})
                for id_, count in given_[0].items()
            )
        case "collect":
            intake.collect(set(feed.state.lost()))
        case _:
            getattr(intake, name)(*given_)


def answers(catalogue: Catalogue) -> dict[str, tuple[int, str]]:
    """Return the index and the bytes of everything that can be read."""
    found = {
        "plugins": catalogue.plugins("csi"),
        "nodes": catalogue.nodes(STUBS),
        "allocations": catalogue.all_allocations(None),
    }
    for id_ in [*PLUGINS, "ebs-0123"]:
        found[id_] = catalogue.plugin(catalogue.named(PluginKey("csi", id_)))
    for node_id in NODES:
        found[node_id] = catalogue.node(node_id)
        found[f"{node_id}/allocations"] = catalogue.allocations(node_id)
    for alloc_id in ("alloc-1", "alloc-2"):
        found[alloc_id] = catalogue.allocation(alloc_id, None)[1]
    return {name: (each.index, (each.body or b"").decode()) for name, each in found.items()}


@contextmanager
def following(folder: Path) -> Iterator[tuple[SqliteStore, Feed, Catalogue]]:
    store = SqliteStore(None, folder, shared=True)
    feed = Feed(store, State.of(store.load()))
    catalogue = Catalogue(feed, SCHEMAS)
    try:
        yield store, feed, catalogue
    finally:
        feed.close()
        catalogue.end()
        store.close()


FOLLOWER = """
import json, sys
from pathlib import Path
from tests.feed.test_two_catalogues import answers, following
with following(Path(sys.argv[1])) as (store, feed, catalogue):
    feed.start()
    print("ready", flush=True)
    for line in sys.stdin:
        while catalogue.index < int(line):
            store.wait(int(line) - 1, 1.0)
        print(json.dumps([catalogue.index, answers(catalogue)]), flush=True)
"""


def check(script: list[Any], folder: Path, follower: subprocess.Popen[str]) -> None:
    """Make changes one after another; after each, both catalogues must return the same."""
    assert follower.stdin is not None
    assert follower.stdout is not None
    with following(folder) as (store, feed, catalogue):
        generations = {name: str(origin) for name, origin in REGISTRY.origins.items()}
        intake = Intake(store, feed, SCHEMAS, generations)
        try:
            for action in script:
                try:
                    act(intake, feed, action)
                except PlugindError:
                    continue
                print(catalogue.index, file=follower.stdin, flush=True)
                index, said = json.loads(follower.stdout.readline())
                assert index == catalogue.index
                assert {name: tuple(each) for name, each in said.items()} == answers(catalogue)
            expected = Catalogue(Feed(store, State.of(store.load())), SCHEMAS)
            assert answers(expected) == answers(catalogue), "as one that has just started has it"
            expected.end()
        finally:
            intake.close()


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(st.lists(actions, min_size=8, max_size=25))
def test_both_say_the_same_after_any_changes(script: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        SqliteStore(None, Path(folder)).close()
        command = [sys.executable, "-c", FOLLOWER, folder]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as follower:
            try:
                assert follower.stdout is not None
                assert follower.stdout.readline() == "ready\n"
                check(script, Path(folder), follower)
            finally:
                assert follower.stdin is not None
                follower.stdin.close()
                follower.wait(PATIENCE)
