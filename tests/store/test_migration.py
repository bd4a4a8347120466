"""Databases of older versions, served by this one: every answer equals that of the older server.

The databases and answers were recorded (recording.py) from servers of the versions that wrote them.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from plugind.store.sqlite.file import MIGRATIONS
from plugind.store.sqlite.maintenance import check
from plugind.store.sqlite.restoring import restore
from tests.store.recording import FOLDER, ONE, TWO, secret
from tests.support import Api, FakeAgent, serving, up

TODAY = len(MIGRATIONS)

ADDED: Mapping[int, frozenset[str]] = {
    1: frozenset(),
    2: frozenset(),
    3: frozenset(),
    4: frozenset(),
    5: frozenset(),
    6: frozenset(),
    7: frozenset(),
}
"""For each schema older than the current one, the keys added to answers since it was recorded."""

DERIVED = frozenset({"HTTPAddr"})
"""Keys whose values this version derives differently from the recorded ones."""

RECORDED = {int(path.stem.partition("-")[2]): path for path in FOLDER.glob("schema-*.sql")}


def recording(schema: int) -> Any:
    return json.loads(RECORDED[schema].with_suffix(".json").read_text())


def without(body: bytes, keys: frozenset[str]) -> bytes:
    """Return an answer without the given keys, at any depth."""
    if not keys or not body.startswith((b"{", b"[")):
        return body

    def kept(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: value for key, value in pairs if key not in keys}

    return dumped(json.loads(body, object_pairs_hook=kept))


FAILING = "2026-01-31T23:00:00.000000005Z"
"""The time since which the drivers that recording.py makes fail have been failing."""

_SINCE = re.compile(r"( since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+Z")
_BEFORE = "; before that: "


def in_todays_words(answer: str) -> bytes:
    """Return a recorded answer as it reads since schema 4: times in messages have whole seconds,
    and an instance that was unhealthy before its node went down keeps its own start time."""

    def read(value: dict[str, Any]) -> dict[str, Any]:
        for key in {"HealthDescription", "StatusDescription"} & value.keys():
            text = _SINCE.sub(r"\1Z", value[key])
            if "Probe failed" in text:
                value["UpdateTime"] = FAILING
            value[key] = text.replace(_BEFORE, "; before that, since 2026-01-31T23:00:00Z: ")
        return value

    found = json.loads(answer, object_hook=read) if answer.startswith(("[", "{")) else None
    return answer.encode() if found is None else dumped(found)


def dumped(value: Any) -> bytes:
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
        # Other types were added later, each with its own keys in a node.
        config += 'plugin_types { enabled = ["csi"] }\n'
    with serving(tmp_path, live=True, config=config, server_heartbeat_ttl="10m") as served:
        yield served


def test_every_older_schema_is_recorded() -> None:
    """Require a recording of the previous schema for each new migration."""
    assert set(ADDED) == set(range(1, TODAY))
    assert set(ADDED) <= set(RECORDED)


def test_answers_are_those_of_the_server_that_wrote_it(api: Api, schema: int) -> None:
    answers = recording(schema)["answers"]
    assert {answer["status"] for answer in answers} == {200, 404}
    for answer in answers:
        got = api.call("GET", answer["path"])
        assert (got.status, got.index) == (answer["status"], answer["index"]), answer["path"]
        given = without(got.body, ADDED[schema] | DERIVED)
        assert given == without(in_todays_words(answer["body"]), DERIVED), answer["path"]


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
