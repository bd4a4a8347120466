"""Databases of older versions, served by this one: every answer is what the older server gave.

The databases and answers were recorded (recording.py) from servers of the versions that wrote them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from plugind.store.maintenance import check
from plugind.store.restoring import restore
from plugind.store.sqlite_file import MIGRATIONS
from tests.store.recording import FOLDER, ONE, TWO, secret
from tests.support import Api, FakeAgent, serving, up

TODAY = len(MIGRATIONS)

ADDED: Mapping[int, frozenset[str]] = {
    1: frozenset(),
    2: frozenset(),
}
"""For each schema before today's, the keys that answers have gained since it was recorded."""

RECORDED = {int(path.stem.partition("-")[2]): path for path in FOLDER.glob("schema-*.sql")}


def recording(schema: int) -> Any:
    return json.loads(RECORDED[schema].with_suffix(".json").read_text())


def without(body: bytes, keys: frozenset[str]) -> bytes:
    """An answer as it would be without some keys, wherever they stand."""
    if not keys:
        return body

    def kept(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: value for key, value in pairs if key not in keys}

    value = json.loads(body, object_pairs_hook=kept)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def fill(folder: Path, schema: int) -> Path:
    file = folder / "plugind.db"
    with closing(sqlite3.connect(file)) as db:
        db.executescript(RECORDED[schema].read_text())
    return file


@pytest.fixture(params=sorted(ADDED))
def schema(request: pytest.FixtureRequest) -> int:
    version: int = request.param
    return version


@pytest.fixture
def api(schema: int, tmp_path: Path) -> Iterator[Api]:
    fill(tmp_path, schema)
    config = recording(schema)["config"]
    if "plugin_types" not in config:
        # Other types came later, each with keys of its own in a node.
        config += 'plugin_types { enabled = ["csi"] }\n'
    with serving(tmp_path, live=True, config=config, server_heartbeat_ttl="10m") as served:
        yield served


def test_every_older_schema_is_recorded() -> None:
    """A new migration needs a recording of the schema that it leaves behind, made before it."""
    assert set(ADDED) == set(range(1, TODAY))
    assert set(ADDED) <= set(RECORDED)


def test_answers_are_those_of_the_server_that_wrote_it(api: Api, schema: int) -> None:
    answers = recording(schema)["answers"]
    assert {answer["status"] for answer in answers} == {200, 404}
    for answer in answers:
        got = api.call("GET", answer["path"])
        assert (got.status, got.index) == (answer["status"], answer["index"]), answer["path"]
        assert without(got.body, ADDED[schema]) == answer["body"].encode(), answer["path"]


def test_life_goes_on_from_there(api: Api, schema: int, tmp_path: Path) -> None:
    last = recording(schema)["index"]
    assert FakeAgent(api, ONE, "vm one", secret="another").report({}).status == 403
    agent = FakeAgent(api, TWO, "vm2", secret=secret(TWO))
    assert agent.report({"nfs": {"node": up()}}).json["Index"] == last + 1
    body = api.call("GET", "/v1/plugin/csi/nfs").json
    assert (body["NodesHealthy"], body["ModifyIndex"]) == (1, last + 1)
    found = check(tmp_path / "plugind.db")
    assert (found.schema, found.index) == (TODAY, last + 1)


def test_it_is_sound_and_can_be_restored(schema: int, tmp_path: Path) -> None:
    file = fill(tmp_path, schema)
    found = check(file)
    assert (found.schema, found.index) == (schema, recording(schema)["index"])
    assert min(found.nodes, found.instances, found.declarations) > 0
    restored = restore(file, tmp_path / "new", ()).summary
    assert restored.schema == TODAY
    assert (restored.nodes, restored.instances) == (found.nodes, found.instances)


def test_a_difference_would_be_seen() -> None:
    body = b'{"A":1,"B":{"A":2,"C":"\xc3\xa4"}}'
    assert without(body, frozenset()) == body
    assert without(body, frozenset("A")) == '{"B":{"C":"ä"}}'.encode()
