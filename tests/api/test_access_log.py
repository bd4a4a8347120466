"""The access log: who asked for what, which rule decided, how it ended, and no secret."""

from __future__ import annotations

import json
import os
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from plugind.acl.tokens import CLIENT, block, draw
from plugind.errors import ConfigError
from tests.support import FakeAgent, eventually, serving, up

POLICY = """# may list plugins
namespace "default" {
  capabilities = ["csi-list-plugin"]
}
"""


def configured(folder: Path, log: Path) -> tuple[str, str, str]:
    """A configuration with ACLs and an access log, a token's secret and its accessor."""
    secret, token = draw("ops", CLIENT, ["lister"], None)
    (folder / "policies").mkdir()
    (folder / "policies/lister.hcl").write_text(POLICY)
    (folder / "tokens.hcl").write_text(block(token))
    config = f"""
        acl {{
          enabled  = true
          policies = "{folder}/policies"
          tokens   = "{folder}/tokens.hcl"
        }}
        server {{ access_log = "{log}" }}
    """
    return config, secret, token.caller.accessor


def entries(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("live", [False, True])
def test_a_line_a_request(tmp_path: Path, live: bool) -> None:
    log = tmp_path / "access.log"
    config, secret, accessor = configured(tmp_path, log)
    headers = {"X-Nomad-Token": secret}
    with serving(tmp_path, live=live, config=config) as api:
        api.call("GET", "/v1/plugins?type=csi&token=hunter2&index=0", None, headers)
        api.call("GET", "/v1/plugin/csi/a%0Ab", None, {"Authorization": f"Bearer {secret}"})
        api.call("GET", "/v1/plugins?type=csi", None, {"X-Nomad-Token": "hunter2"})
        api.call("POST", "/v1/plugins", None, headers)
        api.call("GET", "/v1/nothing/hunter", None, headers)
        api.call("GET", "/v1/agent/health")
    allowed, denied, unknown, wrong, nothing, health = entries(log)
    assert allowed["accessor"] == denied["accessor"] == accessor
    assert allowed["path"] == "/v1/plugins"
    assert allowed["query"] == {"index": "0", "type": "csi"}
    assert (allowed["decision"], allowed["status"], allowed["index"]) == ("allow", 200, 1)
    assert allowed["rule"] == f"{tmp_path}/policies/lister.hcl:2"
    assert 0 <= allowed["duration_ms"] < 10_000
    assert allowed["remote"] == "127.0.0.1"
    assert (denied["decision"], denied["status"], denied["path"]) == (
        "none",
        403,
        "/v1/plugin/csi/a b",
    )
    assert (unknown["accessor"], unknown["decision"], unknown["status"]) == ("", "", 403)
    assert (wrong["method"], wrong["status"]) == ("POST", 405)
    assert (nothing["decision"], nothing["status"]) == ("", 404)
    assert health["status"] == 200
    assert secret not in log.read_text()
    assert "hunter2" not in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o640


def test_what_the_body_asks_for_is_in_the_decision(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    config, secret, _ = configured(tmp_path, log)
    with serving(tmp_path, live=False, config=config) as api:
        for context, status in (("plugins", 200), ("nodes", 403)):
            body = {"Context": context}
            answer = api.call("PUT", "/v1/search", body, {"X-Nomad-Token": secret})
            assert answer.status == status
    allowed, denied = entries(log)
    assert (allowed["decision"], denied["decision"], denied["rule"]) == ("allow", "none", "")


@pytest.mark.parametrize("live", [False, True])
def test_a_path_that_is_none_has_a_line_too(tmp_path: Path, live: bool) -> None:
    log = tmp_path / "access.log"
    with serving(tmp_path, live=live, server_access_log=str(log)) as api:
        assert api.call("GET", "//v1/plugins").status == 404
    assert [entry["status"] for entry in entries(log)] == [404]


def test_a_pipe_in_its_place_makes_nobody_wait(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with serving(tmp_path, live=False, server_access_log=str(log)) as api:
        log.unlink()
        os.mkfifo(log)
        assert api.call("GET", "/v1/regions").status == 200
        told = api.call("GET", "/v1/agent/health").json["server"]["message"]
        assert told.endswith("it is neither a regular file nor a character device")
    with (
        pytest.raises(ConfigError, match="neither a regular file"),
        serving(tmp_path, live=False, server_access_log=str(log)),
    ):
        pass


def test_a_file_that_is_moved_away_is_followed_by_a_new_one(tmp_path: Path) -> None:
    log, old = tmp_path / "access.log", tmp_path / "access.log.1"
    with serving(tmp_path, live=True, server_access_log=str(log)) as api:
        stop = threading.Event()
        asked: list[int] = []

        def ask() -> None:
            while not stop.is_set():
                asked.append(api.call("GET", "/v1/plugins?type=csi").status)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(asked) > 20)
        log.rename(old)
        eventually(lambda: log.exists() and len(entries(log)) > 20)
        stop.set()
        for thread in threads:
            thread.join()
    assert len(entries(old)) + len(entries(log)) == len(asked), "no line is lost, none is torn"


def test_a_log_that_cannot_be_written_is_told_of_and_stops_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    with serving(tmp_path, live=False, server_access_log=str(folder / "access.log")) as api:
        (folder / "access.log").unlink()
        folder.rmdir()
        agent = FakeAgent(api)
        assert agent.report({"ebs0": {"node": up()}}).status == 200
        told = api.call("GET", "/v1/agent/health").json["server"]
        assert told["ok"]
        assert "the access log cannot be written: No such file or directory" in told["message"]
        folder.mkdir()
        assert agent.beat().status == 200
        assert api.call("GET", "/v1/agent/health").json["server"]["message"] == "ok"
    assert len(entries(folder / "access.log")) == 2


def test_a_log_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    log = tmp_path / "none" / "access.log"
    with (
        pytest.raises(ConfigError, match=r"server\.access_log: .*No such file"),
        serving(tmp_path, live=False, server_access_log=str(log)),
    ):
        pass


def test_what_is_long_is_cut(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with serving(tmp_path, live=False, server_access_log=str(log)) as api:
        api.call("GET", f"/v1/plugins?type=csi&filter={'x' * 9_000}")
        api.call("GET", f"/v1/plugin/csi/{uuid.UUID(int=1)}{'y' * 9_000}")
    first, second = entries(log)
    assert len(first["query"]["filter"]) == len(second["path"]) == 512
