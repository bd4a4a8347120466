"""The access log: who asked for what, which rule decided, how it ended, and no secret."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import pytest

from plugind.acl.tokens import CLIENT, block, draw
from plugind.api import access_log
from plugind.api.access_log import AccessLog
from plugind.errors import ConfigError
from tests.hostile_texts import SENDABLE, unsafe
from tests.promises import PATIENCE
from tests.support import Api, FakeAgent, Live, eventually, serving, up

POLICY = """# may list plugins
namespace "default" {
  capabilities = ["csi-list-plugin"]
}
"""


def configured(folder: Path, log: Path) -> tuple[str, str, str]:
    """Write policies and tokens; return the configuration, a token's secret and its accessor."""
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


def message(api: Api) -> str:
    """Return the message of a server's health."""
    return str(api.call("GET", "/v1/agent/health").json["server"]["message"])


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


def test_a_pipe_in_its_place_makes_no_request_wait(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with serving(tmp_path, live=False, server_access_log=str(log)) as api:
        log.unlink()
        os.mkfifo(log)
        assert api.call("GET", "/v1/regions").status == 200
        text = "it is neither a regular file nor a character device"
        eventually(lambda: message(api).endswith(text))
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


def test_a_log_that_cannot_be_written_is_reported_and_stops_no_request(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    with serving(tmp_path, live=False, server_access_log=str(folder / "access.log")) as api:
        (folder / "access.log").unlink()
        folder.rmdir()
        agent = FakeAgent(api)
        assert agent.report({"ebs0": {"node": up()}}).status == 200
        text = "the access log cannot be written: No such file or directory"
        eventually(lambda: text in message(api))
        assert api.call("GET", "/v1/agent/health").json["server"]["ok"]
        folder.mkdir()
        assert agent.beat().status == 200
        eventually(lambda: message(api) == "ok")
    assert "heartbeat" in (folder / "access.log").read_text()


def test_a_log_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    log = tmp_path / "none" / "access.log"
    with (
        pytest.raises(ConfigError, match=r"server\.access_log: .*No such file"),
        serving(tmp_path, live=False, server_access_log=str(log)),
    ):
        pass


def test_long_values_are_cut(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with serving(tmp_path, live=False, server_access_log=str(log)) as api:
        api.call("GET", f"/v1/plugins?type=csi&filter={'x' * 9_000}")
        api.call("GET", f"/v1/plugin/csi/{uuid.UUID(int=1)}{'y' * 9_000}")
    first, second = entries(log)
    assert len(first["query"]["filter"]) == len(second["path"]) == 512


@pytest.mark.parametrize("text", SENDABLE.values(), ids=SENDABLE)
def test_a_line_holds_no_control_characters(tmp_path: Path, text: str) -> None:
    log = tmp_path / "access.log"
    with serving(tmp_path, live=False, server_access_log=str(log)) as api:
        api.call("GET", f"/v1/plugin/csi/{quote(text)}?filter={quote(text)}")
    line = log.read_text()
    assert line.count("\n") == 1
    assert not unsafe(line)


@pytest.mark.parametrize(
    ("request_", "status", "method", "path"),
    [
        (b"GET /v1/x HTTP/1.1\r\nno header\r\n\r\n", 400, "", ""),  # none of it is trusted
        (b"PUT /v1/search HTTP/1.1\r\nContent-Length: 17000000\r\n\r\n", 413, "PUT", "/v1/search"),
        (b"PUT /v1/y HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "PUT", "/v1/y"),
    ],
)
def test_what_the_http_server_refuses_is_logged(
    tmp_path: Path, request_: bytes, status: int, method: str, path: str
) -> None:
    log = tmp_path / "access.log"
    with serving(tmp_path, live=True, config=f'server {{ access_log = "{log}" }}') as api:
        assert isinstance(api, Live)
        host, _, port = api.address.partition("//")[2].partition(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
            client.sendall(request_)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith((b"HTTP/1.1 %d " % status, b"HTTP/1.0 %d " % status))
    (entry,) = entries(log)
    assert (entry["status"], entry["method"], entry["path"]) == (status, method, path)
    assert entry["remote"] == "127.0.0.1"


def test_two_lengths_end_the_connection_and_are_logged(tmp_path: Path) -> None:
    """End the connection after a request with two lengths (RFC 9112, section 6.1).

    A proxy in front may have divided the bytes into requests differently.
    """
    log = tmp_path / "access.log"
    smuggled = b"GET /v1/regions HTTP/1.1\r\nHost: x\r\n\r\n"
    with serving(tmp_path, live=True, config=f'server {{ access_log = "{log}" }}') as api:
        assert isinstance(api, Live)
        host, _, port = api.address.partition("//")[2].partition(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
            client.sendall(
                b"PUT /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + smuggled
            )
            answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert [entry["path"] for entry in entries(log)] == ["/v1/search"]


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[AccessLog]:
    """Yield a log whose own thread writes nothing."""
    with (
        patch.object(AccessLog, "_run", lambda self: None),
        patch("time.time_ns", lambda: 10**18 + 1),  # so that all lines are of one length
    ):
        log = AccessLog(tmp_path / "access.log", [])
        yield log
        log.close()


def lines_of(log: AccessLog, *names: str) -> None:
    for name in names:
        log.answered("127.0.0.1", {"path": name}, 0.5)


@pytest.mark.parametrize("taken", [1, 30, "a line", "all but one"])
def test_a_full_disk_tears_no_line_that_is_written_later(
    tmp_path: Path, logged: AccessLog, taken: int | str
) -> None:
    lines_of(logged, "first")
    logged.flush()
    length = (tmp_path / "access.log").stat().st_size
    lines_of(logged, "other", "third")
    room = [{"a line": length, "all but one": 2 * length - 1}.get(str(taken)) or int(taken)]
    write = os.write

    def fill(descriptor: int, data: memoryview) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = write(descriptor, data[: room[0]])
        room[0] -= done
        return done

    with patch("os.write", fill):
        logged.flush()
    assert logged.trouble == "the access log cannot be written: No space left on device"
    lines_of(logged, "last")
    logged.flush()
    assert logged.trouble == ""
    found = []
    for line in (tmp_path / "access.log").read_text().splitlines():
        with suppress(json.JSONDecodeError):
            found.append(json.loads(line)["path"])
        assert line
    more = {"a line": ["other"], "all but one": ["other", "third"]}
    assert found == ["first", *more.get(str(taken), []), "last"]


def test_the_end_writes_what_waits(tmp_path: Path) -> None:
    with patch.object(AccessLog, "_run", lambda self: None):
        log = AccessLog(tmp_path / "access.log", [])
        lines_of(log, "one", "two")
        log.close()
    assert [line["path"] for line in entries(tmp_path / "access.log")] == ["one", "two"]


def test_lines_do_not_wait_without_bound(
    tmp_path: Path, logged: AccessLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the caller that adds one line too many write them all, so a late thread loses none."""
    monkeypatch.setattr(access_log, "LINES_MAXIMUM", 10)
    lines_of(logged, *map(str, range(9)))
    assert (tmp_path / "access.log").read_text() == ""
    lines_of(logged, "9")
    assert [line["path"] for line in entries(tmp_path / "access.log")] == [*map(str, range(10))]
