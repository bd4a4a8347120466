"""The commands ``plugind plugin history`` and ``plugind node history``."""

from __future__ import annotations

import json
from functools import partial

import pytest

from plugind.api import history
from plugind.cli import history as shown
from plugind.cli import output, status
from plugind.client import Client, client
from tests.cli.conftest import NODE, REASON
from tests.support import FakeAgent, Live, down, eventually, up
from tests.test_cli import plugind, printing


def lines(api: Live, *command: str) -> list[str]:
    """Return the lines of the table of transitions, without its head."""
    done = plugind(*command, address=api.address)
    assert (done.returncode, done.stderr) == (0, "")
    *_, table = done.stdout.rpartition("\n\n")
    return table.splitlines()[1:]


def test_a_plugin_and_a_node(api: Live, agent: FakeAgent) -> None:
    before = len(lines(api, "plugin", "history", "aws-ebs0"))
    agent.report({"aws-ebs0": {"controller": up(), "node": up()}, "nfs": {"node": up()}})
    first, *rest = lines(api, "plugin", "history", "aws-ebs0")
    assert len(rest) == before
    assert first.split()[3:8] == ["healthy", "csi", "aws-ebs0", "node", "vm1"]
    assert any(REASON in line for line in rest)
    for name in ("vm1", NODE, NODE[:8]):
        of_node = lines(api, "node", "history", name)
        assert any("nfs" in line for line in of_node)
        assert not any("vm2" in line for line in of_node)


def test_what_is_gone_keeps_its_history(api: Live, agent: FakeAgent) -> None:
    assert plugind("node", "forget", "vm1", address=api.address).returncode == 0
    assert lines(api, "plugin", "history", "csi/nfs")[0].split()[3:6] == ["left", "csi", "nfs"]
    assert lines(api, "node", "history", NODE)
    done = plugind("plugin", "history", "csi/none", address=api.address)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: plugin not found\n"


@pytest.mark.parametrize("command", [("plugin", "history", "nfs"), ("node", "history", "vm1")])
def test_json_and_since(api: Live, agent: FakeAgent, command: tuple[str, ...]) -> None:
    done = plugind(*command, "--json", address=api.address)
    rows = json.loads(done.stdout)
    assert {row["Event"] for row in rows} >= {"appeared"}
    assert json.loads(plugind(*command, "--json", "--since", "1h", address=api.address).stdout)
    done = plugind(*command, "--since", "2200-01-01T00:00:00Z", address=api.address)
    assert done.stdout.endswith("\nNo events in the history.\n")
    done = plugind(*command, "--since", "yesterday", address=api.address)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Invalid since: it is a time, as 2026-")


def test_everything_anywhere(api: Live, agent: FakeAgent) -> None:
    found = lines(api, "history")
    assert {"vm1", "vm2"} <= {word for line in found for word in line.split()}
    rows = json.loads(plugind("history", "--json", address=api.address).stdout)
    assert len(rows) == len(found)
    assert rows == api.call("GET", "/v1/history").json


def test_availability_stands_above(api: Live, agent: FakeAgent) -> None:
    agent.report({"aws-ebs0": {"controller": up(), "node": down(REASON)}})
    done = plugind("plugin", "history", "nfs", address=api.address)
    head, row = done.stdout.splitlines()[:2]
    assert head.split("  ")[:1] == ["Type"]
    assert "Healthy 24h" in head
    assert "At least one 30d" in head
    assert row.split() == ["csi", "node", "0%", "0%", "0%", "0%", "0%", "0%"] or "%" in row
    of_node = plugind("node", "history", "vm1", address=api.address).stdout.splitlines()
    assert [line.split()[:2] for line in of_node[1:3]] == [["csi", "controller"], ["csi", "node"]]
    assert of_node[1].split()[2:] == ["100%"] * 6


@pytest.mark.parametrize(
    "command", [("plugin", "history", "nfs"), ("node", "history", "vm1"), ("history",)]
)
@pytest.mark.parametrize("as_json", [False, True])
def test_watch_prints_each_transition_once(
    api: Live, agent: FakeAgent, command: tuple[str, ...], as_json: bool
) -> None:
    with printing(
        *command, "--watch", *(["--json"] if as_json else []), address=api.address
    ) as out:
        eventually(lambda: any("appeared" in line for line in out))
        for reason in ("flood", "fire", "frost"):
            agent.report({"nfs": {"node": down(reason)}})
            eventually(lambda reason=reason: any(reason in line for line in out))
    of_nfs = [line for line in out if "nfs" in line and "%" not in line]
    assert len(of_nfs) == 4
    for line, reason in zip(of_nfs[1:], ("flood", "fire", "frost"), strict=True):
        if as_json:
            row = json.loads(line)
            assert row["Reason"] == reason
            assert row in api.call("GET", "/v1/history").json
        else:
            assert f" csi/nfs node vm1 {reason}\n" in line


def test_watching_goes_on_after_a_plugin_is_gone(api: Live, agent: FakeAgent) -> None:
    with printing("plugin", "history", "csi/nfs", "--watch", address=api.address) as out:
        eventually(lambda: any("appeared" in line for line in out))
        agent.report({"nfs": {"node": None}})
        eventually(lambda: any("left" in line for line in out))
        agent.report({"nfs": {"node": up()}})
        eventually(lambda: len([line for line in out if "appeared" in line]) == 2)


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the server look at only 3 transitions for one page."""
    monkeypatch.setattr(history, "LOOKED_AT_MAXIMUM", 3)


@pytest.mark.usefixtures("short_pages")
@pytest.mark.parametrize(
    "command", [("plugin", "history", "nfs"), ("node", "history", "vm1"), ("history",)]
)
def test_all_pages_are_read(api: Live, agent: FakeAgent, command: tuple[str, ...]) -> None:
    for number in range(8):
        agent.report({"nfs": {"node": down(f"reason {number}")}})
    found = lines(api, *command)
    reasons = [number for line in found for number in range(8) if f"reason {number}" in line]
    assert reasons == [*reversed(range(8))]
    done = plugind(*command, "--json", address=api.address)
    assert (len(json.loads(done.stdout)), done.stderr) == (len(found), "")
    first = plugind("status", address=api.address).stdout
    assert "In the last hour: 1" in first
    assert "at least" not in first


@pytest.mark.usefixtures("short_pages")
def test_what_is_not_shown_is_said(
    api: Live, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client, "HISTORY_LIMIT", 2)
    remark = "These are the newest 2, and there are more: "
    with Client(api.address) as asking:
        asked = partial(asking.history, since="1h")
        assert len(asked().value) == 2

        def show(**more: bool) -> None:
            shown.show(asking, lambda client, index: asked(), watching=False, **more)

        show(as_json=False)
        assert remark in capsys.readouterr().out
        show(as_json=True)
        out, err = capsys.readouterr()
        assert out.count('"Seq"') == 2
        assert err.startswith(remark)
        changes = asked()
        assert "at least 2 changes" in status.counts(changes.value, are_all=not changes.next_token)


def test_availability_says_how_much_of_a_window_is_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    window = {
        "Window": "24h",
        "Since": "2026-01-01T00:00:00Z",
        "KnownSince": "2026-01-01T21:00:00Z",
        "Until": "2026-01-02T00:00:00Z",
        "Availability": 0.5,
        "AnyHealthy": 0.000001,
    }
    rows = [
        {"Type": "csi", "Role": "node", "Windows": [window]},
        {"Type": "csi", "Role": "controller", "Windows": [window | {"Availability": None}]},
        {"Type": "csi", "Role": "x", "Windows": [window | {"KnownSince": window["Since"]}]},
    ]
    output.console().print(shown.availability_table(rows))
    cells = [line.split(maxsplit=2)[2].strip() for line in capsys.readouterr().out.splitlines()]
    assert [cell.split("  ")[0] for cell in cells[1:]] == ["50% of 3h", "-", "50%"]
    assert cells[1].endswith("0.001% of 3h")
