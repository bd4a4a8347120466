"""A server with a plugin type whose code raises, hangs or returns nonsense for one plugin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.catalogue.scripted_type import NONSENSE, Act, Hang, Lamp
from tests.promises import eventually, promised
from tests.support import SECRET, Api, serving, up
from tests.test_registry import Installer

pytestmark = pytest.mark.alone  # they hold plugind to milliseconds

NODE = "11111111-2222-4333-8444-555555555555"
IDS = [f"lamp{number:03}" for number in range(50)]
ODD = "lamp025"

SOURCE = """
from plugind.plugin_type import hookimpl
from tests.catalogue.scripted_type import Lamp

LAMP = Lamp()

@hookimpl
def plugind_plugin_types():
    return [LAMP]
"""


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    Installer(folder).install("t-lamps", "t-lamps", SOURCE)
    with capture_logs(), serving(tmp_path, live=True) as made:
        yield made
    sys.modules.pop("t_lamps", None)


def lamp() -> Lamp:
    found: Lamp = sys.modules["t_lamps"].LAMP
    return found


def report(api: Api, **more: dict[str, Any]) -> None:
    lamps = {id_: {"node": up(Serial=id_)} for id_ in IDS} | more
    body = {"Name": "vm1", "Plugins": {"lamp": lamps}}
    headers = {"X-Plugind-Node-Secret": SECRET}
    answer = api.call("PUT", f"/v1/node/{NODE}", body, headers)
    assert (answer.status, answer.json["Rejected"]) == (200, [])


def look(api: Api) -> tuple[dict[str, Any], str]:
    """Read the list and search, each in under 100 ms; return the row of ``ODD`` and the ETag."""
    with promised(0.1):
        answer = api.call("GET", "/v1/plugins?type=lamp")
    rows = {row["ID"]: row for row in answer.json}
    assert list(rows) == IDS
    with promised(0.1):
        found = api.call("POST", "/v1/search", {"Prefix": "lamp02", "Context": "plugins"})
    assert found.json["Matches"]["plugins"] == IDS[20:30]
    with promised(0.1):
        found = api.call("POST", "/v1/search/fuzzy", {"Text": "amp02", "Context": "plugins"})
    assert len(found.json["Matches"]["plugins"]) == 10
    with promised(0.1):
        body = api.call("GET", f"/v1/plugin/lamp/{ODD}")
    assert (body.json["NodesHealthy"], list(body.json["Nodes"])) == (1, [NODE])
    assert ("-degraded" in body.headers["etag"]) is ("-degraded" in answer.headers["etag"])
    return rows[ODD], answer.headers["etag"]


def health(api: Api) -> tuple[bool, str]:
    answer = api.call("GET", "/v1/agent/health").json["server"]
    return answer["ok"], answer["message"]


@pytest.mark.parametrize("act", NONSENSE.values(), ids=NONSENSE.keys())
def test_one_plugin_of_a_type_fails(api: Api, act: Act) -> None:
    lamp().script[ODD] = act
    report(api)
    row, etag = look(api)
    assert (row["NodesHealthy"], row["NodesExpected"]) == (1, 1)
    assert "-degraded" in etag
    ok, message = health(api)
    assert ok
    assert "the type lamp of t-lamps 1.0 fails for 1 plugin (" in message
    assert "secret" not in message
    other = api.call("GET", "/v1/plugin/lamp/lamp001")
    assert "-degraded" not in other.headers["etag"]
    assert other.json["Serial"] == "lamp001"


def test_a_late_summary_replaces_the_fallback_at_the_same_index(api: Api) -> None:
    report(api)
    row, sound = look(api)
    assert row["Serial"] == ODD
    hang = Hang()
    lamp().script["another"] = hang
    report(api, **{ODD: {"node": up(Serial="another")}})
    row, degraded = look(api)
    assert row["Serial"] == ODD, "the last good one"
    index = row["ModifyIndex"]
    assert "-degraded" in degraded
    same = api.call("GET", "/v1/plugins?type=lamp", headers={"If-None-Match": degraded})
    assert same.status == 304
    ok, message = health(api)
    assert ok
    assert "the type lamp of t-lamps 1.0 hangs since 2" in message
    hang.let_go()
    eventually(lambda: "hangs" not in health(api)[1])
    answer = api.call("GET", "/v1/plugins?type=lamp", headers={"If-None-Match": degraded})
    assert (answer.status, answer.index) == (200, index)
    row, etag = look(api)
    assert row["Serial"] == "late"
    assert "-degraded" not in etag
    assert len({etag, sound, degraded}) == 3
    assert hang.count == 2, "for the row and for the body"
