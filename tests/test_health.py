"""The parts of ``/v1/agent/health`` that each kind of caller sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugind.errors import StoreError
from plugind.health import Finding, Health
from tests.api.gate import EXPIRED, MANAGEMENT, NOBODY, UNKNOWN, gate
from tests.support import FakeAgent, serving, up

HEALTH = "/v1/agent/health"
SECRETIVE = Health(
    False,
    (
        Finding("lost connections to servers", "no answer from http://10.0.0.5:4646: refused"),
        Finding("plugin types in trouble", "exec: /opt/checks/disk raised KeyError('x'); y", 2),
    ),
)
COUNTS = "not ok; lost connections to servers: 1; plugin types in trouble: 2"
DETAILS = (
    "no answer from http://10.0.0.5:4646: refused; exec: /opt/checks/disk raised KeyError('x'); y"
)


def test_what_health_says() -> None:
    assert (Health().summary, Health().message) == ("ok", "ok")
    assert (SECRETIVE.summary, SECRETIVE.message) == (COUNTS, DETAILS)
    noted = Health(True, (Finding("failed reloads", "the configuration was not reloaded: why"),))
    assert noted.summary == "ok; failed reloads: 1"
    assert noted.message == "ok; the configuration was not reloaded: why"


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("query", ["", "?verbose", "?verbose=true", "?type=client"])
def test_details_are_for_readers_of_the_agent(tmp_path: Path, live: bool, query: str) -> None:
    made = gate(tmp_path, "agent-read", "agent-write", "agent-deny", "plugin-read", "node-write")
    checks = {"client": lambda: SECRETIVE}
    with serving(tmp_path, live=live, config=made.config, checks=checks) as api:
        for name in (NOBODY, UNKNOWN, EXPIRED, "agent-deny", "plugin-read", "node-write"):
            answer = api.call("GET", HEALTH + query, headers=made.headers(name))
            assert (answer.status, answer.json["client"]["message"]) == (500, COUNTS), name
            assert answer.json["client"]["ok"] is False
        for name in (MANAGEMENT, "agent-read", "agent-write"):
            answer = api.call("GET", HEALTH + query, headers=made.headers(name))
            assert (answer.status, answer.json["client"]["message"]) == (500, DETAILS), name


def test_the_policy_of_callers_without_a_token_counts(tmp_path: Path) -> None:
    made = gate(tmp_path, "plugin-read", anonymous='agent { policy = "read" }')
    checks = {"client": lambda: SECRETIVE}
    with serving(tmp_path, live=False, config=made.config, checks=checks) as api:
        for name in (NOBODY, UNKNOWN):
            headers = made.headers(name)
            assert api.call("GET", HEALTH, headers=headers).json["client"]["message"] == DETAILS


def test_without_acls_everyone_is_shown_the_details(tmp_path: Path) -> None:
    with serving(tmp_path, live=False, checks={"client": lambda: SECRETIVE}) as api:
        assert api.call("GET", HEALTH).json["client"]["message"] == DETAILS


def test_nothing_of_a_servers_troubles_is_for_everyone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hide details of trouble with a store, log, clone or reload from callers without rights."""
    folder = tmp_path / "secret-folder"
    folder.mkdir()
    made = gate(tmp_path, "agent-read", anonymous="")
    config = f'{made.config}\nserver {{ access_log = "{folder}/access.log" }}'
    with serving(tmp_path, live=False, config=config) as api:
        agent = FakeAgent(api, token=made.secrets[MANAGEMENT], name="secret-node")
        agent.report({"secret-plugin": {"node": up()}})
        (folder / "access.log").unlink()
        folder.rmdir()
        api.services.refuse_reload("secret-reason")

        def full(changes: object) -> None:
            raise StoreError("secret-path/plugind.db: the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(api.services.store, "commit", full)
            assert agent.report({}).status == 503
            api.services.access_log.flush()
            for_everyone = api.call("GET", HEALTH)
            for_readers = api.call("GET", HEALTH, headers=made.headers("agent-read"))
    assert (for_everyone.status, for_readers.status) == (500, 500)
    assert "secret" not in for_everyone.text
    assert for_everyone.json["server"]["message"] == (
        "not ok; failures to write: 1; failures of the access log: 1; failed reloads: 1"
    )
    for words in ("secret-path/plugind.db", "access log cannot be written", "secret-reason"):
        assert words in for_readers.text
