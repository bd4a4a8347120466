"""Only the server's clock decides the start time of a state, and even that can be corrected."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from plugind.model.times import SECOND, parse_time
from plugind.store.sqlite.file import MIGRATIONS
from plugind.store.sqlite.maintenance import check
from plugind.store.sqlite.restoring import restore
from tests.store.recording import ONE, secret
from tests.store.test_migration import fill
from tests.support import Api, FakeAgent, down, serving, up

FAR = "2262-01-01T00:00:00Z"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path, live=False) as made:
        yield made


def updated(api: Api, agent: FakeAgent, plugin: str = "ebs0") -> int:
    body = api.call("GET", f"/v1/plugin/csi/{plugin}").json
    return parse_time(body["Nodes"][agent.node_id]["UpdateTime"])


def version(api: Api) -> str:
    found: str = api.call("GET", "/v1/plugin/csi/ebs0").json["Version"]
    return found


def test_a_time_to_come_decides_nothing(api: Api) -> None:
    liar, honest = FakeAgent(api, name="liar"), FakeAgent(api)
    liar.report({"ebs0": {"node": up(Provider="ebs", ProviderVersion="lie", UpdateTime=FAR)}})
    assert updated(api, liar) <= time.time_ns()
    honest.report({"ebs0": {"node": up(Provider="ebs", ProviderVersion="true")}})
    assert version(api) == "true"
    index = api.services.catalogue.index
    liar.report({"ebs0": {"node": up(Provider="ebs", ProviderVersion="lie", UpdateTime=FAR)}})
    assert api.services.catalogue.index == index
    assert version(api) == "true"


def test_an_unhealthy_time_to_come_is_now(api: Api) -> None:
    agent = FakeAgent(api)
    agent.report({"ebs0": {"node": down(UpdateTime=FAR)}})
    assert updated(api, agent) <= time.time_ns()


def test_a_process_did_not_start_in_time_to_come(api: Api) -> None:
    agent = FakeAgent(api)
    described = {"a1": {"Name": "driver", "CreateTime": 2**63 - 1}}
    agent.report({"ebs0": {"node": up(AllocID="a1")}}, Allocations=described)
    (stub,) = api.call("GET", f"/v1/node/{agent.node_id}/allocations").json
    assert 0 < stub["CreateTime"] <= time.time_ns()


def test_a_server_whose_clock_was_ahead_takes_it_back(api: Api) -> None:
    ahead, now = [0], api.services.intake._clock
    api.services.intake._clock = lambda: now() + ahead[0]
    agent, other = FakeAgent(api), FakeAgent(api)
    ahead[0] = 10 * 365 * 24 * 3600 * SECOND
    agent.report({"ebs0": {"node": up(Provider="ebs", ProviderVersion="old")}})
    assert updated(api, agent) > time.time_ns()
    ahead[0] = 0
    agent.report({"ebs0": {"node": up(Provider="ebs", ProviderVersion="old")}})
    assert updated(api, agent) <= time.time_ns()
    other.report({"ebs0": {"node": up(Provider="ebs", ProviderVersion="new")}})
    assert version(api) == "new"


def test_a_small_step_of_the_clock_moves_no_index(api: Api) -> None:
    ahead, now = [30 * SECOND], api.services.intake._clock
    api.services.intake._clock = lambda: now() + ahead[0]
    agent = FakeAgent(api)
    index = agent.report({"ebs0": {"node": up()}}).json["Index"]
    ahead[0] = 0
    assert agent.report({"ebs0": {"node": up()}}).json["Index"] == index


@pytest.mark.parametrize("is_restored", [False, True])
def test_times_that_older_versions_stored_are_clamped(tmp_path: Path, is_restored: bool) -> None:
    file = fill(tmp_path, 4)
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE instances SET updated = ?", (parse_time(FAR),))
    if is_restored:
        (tmp_path / "new").mkdir()
        restore(file, tmp_path / "new", ())
        file = tmp_path / "new/plugind.db"
    config = 'plugin_types { enabled = ["csi"] }\n'
    with serving(file.parent, live=False, config=config, server_heartbeat_ttl="10m") as api:
        agent = FakeAgent(api, ONE, secret=secret(ONE))
        assert updated(api, agent, "bare") <= time.time_ns()
        assert {node.accessor for node in api.services.store.load().nodes} == {""}
    assert check(file).schema == len(MIGRATIONS)
