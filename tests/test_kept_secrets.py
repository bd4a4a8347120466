"""The ID of a removed node stays reserved for the agent that has the node's secret."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plugind.intake import kept_secrets
from plugind.model import KeptSecret, Node
from plugind.state import State
from plugind.store.base import Contents
from plugind.store.sqlite.maintenance import backup, check
from plugind.store.sqlite.restoring import restore
from tests.support import Api, FakeAgent, serving, up
from tests.test_quotas import Tokens

PLUGINS = {"ebs0": {"node": up()}}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path, live=False) as made:
        yield made


@pytest.fixture
def agent(api: Api) -> FakeAgent:
    """Return the agent of a node that was lost long enough to be removed."""
    return lost(api)


def lost(api: Api, token: str = "") -> FakeAgent:
    agent = FakeAgent(api, token=token)
    assert agent.report(PLUGINS).status == 200
    collect(api, agent)
    return agent


def collect(api: Api, agent: FakeAgent) -> None:
    intake = api.services.intake
    intake.silence([agent.node_id])
    intake.collect(api.services.feed.state.lost())
    assert not api.services.catalogue.has_node(agent.node_id)


def taker(agent: FakeAgent, token: str = "") -> FakeAgent:
    """Return another machine's agent that reports under the same ID."""
    return FakeAgent(agent.api, agent.node_id, secret="another", token=token)


def kept(api: Api) -> list[str]:
    return [secret.node_id for secret in api.services.store.load().kept_secrets]


def test_another_cannot_take_the_id_and_the_rightful_one_comes_back(
    api: Api, agent: FakeAgent
) -> None:
    index = api.services.catalogue.index
    answer = taker(agent).report(PLUGINS)
    assert (answer.status, "the node's secret is another" in answer.text) == (403, True)
    assert api.services.catalogue.index == index
    assert agent.beat().status == 409, "it is asked for its whole report"
    assert agent.report(PLUGINS).status == 200
    assert kept(api) == []
    assert taker(agent).report(PLUGINS).status == 403


def test_another_is_refused_before_the_body_is_looked_at(api: Api, agent: FakeAgent) -> None:
    path = f"/v1/node/{agent.node_id}"
    refused = api.call("PUT", path, b"no JSON", taker(agent).headers)
    assert (refused.status, "the node's secret is another" in refused.text) == (403, True)
    assert api.call("PUT", path, b"no JSON", agent.headers).status == 400


def test_another_token_cannot_take_it(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    with serving(tmp_path, live=False, config=tokens.config) as api:
        agent = lost(api, tokens.secrets["one"])
        assert taker(agent, tokens.secrets["two"]).report(PLUGINS).status == 403
        assert taker(agent, tokens.secrets["one"]).report(PLUGINS).status == 403
        (secret,) = api.services.store.load().kept_secrets
        assert secret.accessor == tokens.accessors["one"]
        agent.token = tokens.secrets["two"]
        assert agent.report(PLUGINS).status == 200, "the secret is what counts"


def test_it_outlives_a_restart_a_backup_and_a_restore(tmp_path: Path) -> None:
    with serving(tmp_path, live=False) as api:
        agent = lost(api)
    backup(tmp_path / "plugind.db", tmp_path / "copy.db")
    assert check(tmp_path / "copy.db").nodes == 0
    with serving(tmp_path, live=False) as api:
        agent.api = api
        assert taker(agent).report(PLUGINS).status == 403
    restore(tmp_path / "copy.db", tmp_path, ())
    with serving(tmp_path, live=False) as api:
        agent.api = api
        assert taker(agent).report(PLUGINS).status == 403
        assert agent.report(PLUGINS).status == 200


def test_a_node_that_leaves_keeps_its_id(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    with serving(tmp_path, live=False, config=tokens.config) as api:
        agent = FakeAgent(api, token=tokens.secrets["one"])
        agent.report(PLUGINS)
        path = f"/v1/node/{agent.node_id}"
        assert api.call("DELETE", path, headers=agent.headers).status == 200
        assert taker(agent, tokens.secrets["one"]).report(PLUGINS).status == 403
        assert api.call("DELETE", path, headers=agent.headers).status == 404
        assert agent.report(PLUGINS).status == 200


@pytest.mark.parametrize("end", ["", "/secret"])
def test_an_operator_frees_the_id(api: Api, agent: FakeAgent, end: str) -> None:
    path = f"/v1/node/{agent.node_id}{end}"
    answer = api.call("DELETE", path)
    assert (answer.status, answer.json["Index"]) == (200, api.services.catalogue.index)
    assert api.call("DELETE", path).status == 404
    assert taker(agent).report(PLUGINS).status == 200
    assert agent.report(PLUGINS).status == 403


def test_a_node_that_an_operator_forgets_starts_afresh(api: Api) -> None:
    agent = FakeAgent(api)
    agent.report(PLUGINS)
    assert api.call("DELETE", f"/v1/node/{agent.node_id}").status == 200
    assert kept(api) == []
    assert taker(agent).report(PLUGINS).status == 200


def test_a_node_without_a_pinned_secret_leaves_nothing(api: Api) -> None:
    agent = FakeAgent(api)
    agent.report(PLUGINS)
    api.call("DELETE", f"/v1/node/{agent.node_id}/secret")
    collect(api, agent)
    assert kept(api) == []


def test_it_ends_after_its_time(tmp_path: Path) -> None:
    with serving(tmp_path, live=False, server_node_secret_keep="1h") as api:
        agent = lost(api)
        now = api.services.store.load().kept_secrets[0].time
        hour = 3600 * 10**9
        clock = [now + hour - 1]
        api.services.intake._clock = lambda: clock[0]
        api.services.intake.collect([])
        assert kept(api) == [agent.node_id]
        assert taker(agent).report(PLUGINS).status == 403
        clock[0] = now + hour
        assert taker(agent).report(PLUGINS).status == 200
        assert kept(api) == []
        collect(api, agent)
        clock[0] += hour
        api.services.intake.collect([])
        assert kept(api) == []


def test_none_is_kept_where_the_time_is_zero(tmp_path: Path) -> None:
    with serving(tmp_path, live=False, server_node_secret_keep="0s") as api:
        assert taker(lost(api)).report(PLUGINS).status == 200


def test_its_number_is_bounded_by_the_token_that_has_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_secrets, "KEPT_MAXIMUM", 4)
    old = [KeptSecret("a", "s", "one", 1), *(KeptSecret(f"b{at}", "s", "two", 2) for at in "12")]
    state = State.of(Contents(1, [], [], [], {}, kept_secrets=old))
    new = [Node(f"b{at}", "vm", secret_hash="s", accessor="two") for at in "3456"]
    steps = kept_secrets.keep(state, new[:1], 3)
    assert [step.some.node_id for step in steps] == ["b3"]
    steps = kept_secrets.keep(state, new, 3)
    assert [step.after.node_id for step in steps if step.after] == ["b4", "b5", "b6"]
    assert {step.before.node_id for step in steps if step.before} == {"b1", "b2"}
    over = [old[0]]
    steps = kept_secrets.keep(state, new[:2], 3, over)
    assert {step.before.node_id for step in steps if step.before} == {"a"}
