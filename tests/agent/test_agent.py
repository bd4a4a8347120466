"""The agent as a whole: real prober processes on one side, a real HTTP server on the other."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from plugind import __version__
from plugind.agent import Agent
from plugind.agent.agent import prober_command
from plugind.agent.identity import ID_FILE
from plugind.agent.report import reporter
from plugind.client import Tls
from plugind.errors import IdentityError
from tests.agent.conftest import COMMAND, HANGS, SCHEDULE
from tests.agent.fake_server import FakeServer
from tests.promises import COMMAND_MAXIMUM, PATIENCE, eventually

Make = Callable[..., Agent]


@pytest.fixture
def make(
    tmp_path: Path, fake_server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    made: list[Agent] = []

    # However slow the machine is, the first report is complete.
    monkeypatch.setattr(reporter, "SETTLE_MAXIMUM", PATIENCE)

    def agent(
        folders: Mapping[str, Path], block: Mapping[str, str] = SCHEDULE, **options: Any
    ) -> Agent:
        blocks = {
            type: {"folder": str(folder), **SCHEDULE, **block} for type, folder in folders.items()
        }
        data_dir = tmp_path / "data"
        options = {"command": lambda type: COMMAND} | options
        made.append(
            Agent("n1", "dc1", data_dir, [fake_server.address], None, Tls(), blocks, **options)
        )
        return made[-1]

    yield agent
    for each in made:
        each.stop()


def has_more_than(number: int, reports: list[Any]) -> bool:
    return len(reports) > number


def folder(parent: Path, name: str, **orders: str) -> Path:
    made = parent / name
    made.mkdir()
    for target, text in orders.items():
        (made / target).write_text(text)
    return made


def test_results_of_drivers_reach_the_server(
    tmp_path: Path, fake_server: FakeServer, make: Make
) -> None:
    ink = folder(tmp_path, "ink", a="healthy node controller")
    pen = folder(tmp_path, "pen", b="fail")
    agent = make({"pen": pen, "ink": ink})
    assert agent.health() == (False, "the agent is not running")
    assert agent.stats() == {"known_servers": fake_server.address}
    agent.start()
    assert agent.stats()["node_id"] == (tmp_path / "data" / ID_FILE).read_text().strip()
    eventually(lambda: fake_server.reports)
    first = fake_server.reports[0]
    assert (first["Name"], first["Datacenter"], first["Version"]) == ("n1", "dc1", __version__)
    assert list(first["Plugins"]) == ["ink", "pen"], "the first report waits for all types"
    assert first["Plugins"]["ink"]["a"]["node"]["Healthy"]
    assert first["Plugins"]["pen"]["b"]["*"]["HealthDescription"] == "the page is torn"
    eventually(lambda: agent.health() == (True, "ok"))
    part = ink / ".part"
    part.write_text("healthy node")
    os.replace(part, ink / "a")
    eventually(lambda: fake_server.reports[-1]["Plugins"]["ink"]["a"].get("controller", 0) is None)
    (pen / "b").unlink()
    eventually(lambda: list(fake_server.reports[-1]["Plugins"]) == ["ink"])
    assert list(fake_server.reports[-1]["Plugins"]["ink"]["a"]) == ["node"], (
        "reporting it once is enough"
    )


def test_a_restart_keeps_the_identity_and_draws_a_run_id(
    tmp_path: Path, fake_server: FakeServer, make: Make
) -> None:
    ink = folder(tmp_path, "ink")
    for run in range(2):
        agent = make({"ink": ink})
        agent.start()
        eventually(partial(has_more_than, run, fake_server.reports))
        agent.stop()
        agent.stop()
    secrets = {headers["X-Plugind-Node-Secret"] for headers in fake_server.headers}
    assert len(secrets) == 1
    assert len({report["RunID"] for report in fake_server.reports}) == 2


def test_two_agents_do_not_share_a_data_dir(
    tmp_path: Path, fake_server: FakeServer, make: Make
) -> None:
    ink = folder(tmp_path, "ink")
    make({"ink": ink}).start()
    other = make({"ink": ink})
    with pytest.raises(IdentityError, match="in use by another agent"):
        other.start()
    other.stop()


def test_a_damaged_identity_starts_nothing(tmp_path: Path, make: Make) -> None:
    data_dir = folder(tmp_path, "data")
    (data_dir / ID_FILE).write_text("nonsense")
    agent = make({"ink": folder(tmp_path, "ink")})
    before = threading.active_count()
    with pytest.raises(IdentityError):
        agent.start()
    assert threading.active_count() == before


def test_stop_leaves_no_thread_and_no_process(
    tmp_path: Path, fake_server: FakeServer, make: Make
) -> None:
    before = set(threading.enumerate())
    folders = {"ink": folder(tmp_path, "ink", a="hang"), "pen": folder(tmp_path, "pen")}
    agent = make(folders, HANGS)
    agent.start()
    eventually(lambda: fake_server.reports)
    agent.stop()
    ours = {thread.name for thread in set(threading.enumerate()) - before}
    assert not {name for name in ours if name.startswith(("supervise", "report"))}
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


class Blocks(dict[str, dict[str, Any]]):
    """Settings blocks of scripted types, as a configuration would have them."""

    def with_type(self, type: str, folder: Path, **more: Any) -> Blocks:
        return Blocks({**self, type: {"folder": str(folder), **SCHEDULE, **more}})

    def without(self, type: str) -> Blocks:
        return Blocks({name: block for name, block in self.items() if name != type})


def pids(agent: Agent) -> dict[str, int | None]:
    return {type: each.pid for type, each in agent._supervisors.items()}


def unhealthy(reports: list[Any]) -> list[Any]:
    return [
        fingerprint
        for report in reports
        for ids in report["Plugins"].values()
        for roles in ids.values()
        for fingerprint in roles.values()
        if fingerprint and not fingerprint["Healthy"]
    ]


def test_a_reload_restarts_what_changed_and_nothing_else(
    tmp_path: Path, fake_server: FakeServer, make: Make
) -> None:
    ink = folder(tmp_path, "ink", a="healthy node")
    pen = folder(tmp_path, "pen", b="healthy node")
    blocks = Blocks().with_type("ink", ink).with_type("pen", pen)
    agent = make({"ink": ink, "pen": pen})
    agent.start()
    eventually(
        lambda: fake_server.reports and fake_server.reports[-1]["Plugins"].keys() == {"ink", "pen"}
    )
    before = pids(agent)
    agent.reload(blocks)
    assert pids(agent) == before, "nothing changed"

    agent.reload(blocks.with_type("pen", pen, probe_interval="60ms"))
    eventually(lambda: pids(agent)["pen"] not in (before["pen"], None))
    assert pids(agent)["ink"] == before["ink"]
    part = pen / ".part"
    part.write_text("healthy node controller")
    os.replace(part, pen / "b")
    eventually(lambda: "controller" in fake_server.reports[-1]["Plugins"]["pen"]["b"])
    assert not unhealthy(fake_server.reports), "nobody was ill because of it"


def test_targets_that_a_reload_removes_have_left_on_purpose(
    tmp_path: Path, fake_server: FakeServer, make: Make
) -> None:
    old = folder(tmp_path, "old", a="healthy node", b="healthy node", gone="healthy node")
    new = folder(tmp_path, "new", a="healthy node")
    agent = make({"ink": old}, {"probe_interval": "1h"})  # it does not see "gone" go
    agent.start()
    eventually(lambda: fake_server.reports)
    (old / "gone").unlink()
    agent.reload(Blocks().with_type("ink", new))
    eventually(lambda: None in fake_server.reports[-1]["Plugins"]["ink"].get("b", {}).values())
    plugins = fake_server.reports[-1]["Plugins"]["ink"]
    assert plugins["a"]["node"]["Healthy"]
    assert "gone" not in plugins, "what just happened to be away is missing, and not gone for good"
    eventually(lambda: not agent._supervisors["ink"].state.left)

    agent.reload(Blocks())
    left = {"node": None}
    eventually(lambda: fake_server.reports[-1]["Plugins"] == {"ink": {"a": left, "gone": left}})
    agent.reload(Blocks().with_type("ink", new))
    eventually(lambda: fake_server.reports[-1]["Plugins"].get("ink", {}).get("a", {}).get("node"))
    assert not unhealthy(fake_server.reports)
    agent.stop()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_two_reloads_at_once_lose_no_removal(
    tmp_path: Path, fake_server: FakeServer, make: Make
) -> None:
    old = folder(tmp_path, "old", a="healthy node", b="healthy node")
    new = folder(tmp_path, "new", a="healthy node")
    agent = make({"ink": old})
    agent.start()
    eventually(lambda: fake_server.reports)
    agent.reload(Blocks().with_type("ink", new))
    agent.reload(Blocks().with_type("ink", new, probe_interval="60ms"))
    eventually(lambda: None in fake_server.reports[-1]["Plugins"]["ink"].get("b", {}).values())


def test_a_reload_forgets_no_patience(tmp_path: Path, fake_server: FakeServer, make: Make) -> None:
    pen = folder(tmp_path, "pen", a="healthy node")
    blocks = Blocks().with_type("pen", pen, unhealthy_after=900)
    agent = make({})
    agent.start()
    agent.reload(blocks)
    eventually(lambda: fake_server.reports and fake_server.reports[-1]["Plugins"].get("pen"))

    def described() -> str:
        return str(fake_server.reports[-1]["Plugins"]["pen"]["a"]["node"]["HealthDescription"])

    part = pen / ".part"
    part.write_text("fail")
    os.replace(part, pen / "a")
    doubt = "healthy; probes fail, but fewer than {} in a row: the page is torn"
    eventually(lambda: described() == doubt.format(900), what=described)
    agent.reload(blocks.with_type("pen", pen, unhealthy_after=1_000))
    eventually(lambda: described() == doubt.format(1_000), what=described)
    assert not unhealthy(fake_server.reports)


def test_a_reload_adds_types(tmp_path: Path, fake_server: FakeServer, make: Make) -> None:
    agent = make({})
    agent.reload(Blocks())
    agent.start()
    eventually(lambda: fake_server.reports)
    agent.reload(Blocks().with_type("ink", folder(tmp_path, "ink", a="healthy node")))
    eventually(lambda: fake_server.reports[-1]["Plugins"])


def test_a_reload_that_was_refused_is_in_health_until_one_succeeds(
    fake_server: FakeServer, make: Make
) -> None:
    agent = make({})
    agent.start()
    eventually(lambda: agent.health() == (True, "ok"))
    agent.refuse_reload("see the log")
    assert agent.health() == (
        True,
        "ok; the configuration was not reloaded: see the log",
    )
    agent.reload({})
    assert agent.health() == (True, "ok")


def test_a_node_leaves_only_on_request(tmp_path: Path, fake_server: FakeServer, make: Make) -> None:
    ink = folder(tmp_path, "ink", a="healthy node")
    for leave in (False, True):
        agent = make({"ink": ink})
        agent.start()
        eventually(partial(has_more_than, leave, fake_server.reports))
        agent.stop(leave=leave)
        assert fake_server.left == [(tmp_path / "data" / ID_FILE).read_text().strip()] * leave
    assert fake_server.headers[-1]["X-Plugind-Node-Secret"]


def test_the_probers_command_says_what_is_wrong() -> None:
    command = prober_command("no-such-type", "INFO", False)
    got = subprocess.run(
        command, input=b"{}\n", capture_output=True, timeout=COMMAND_MAXIMUM, check=False
    )
    assert got.returncode in (0, 1), "0 if the end of its input came first"
    assert got.stdout == b""


def test_the_probers_command_ends_with_its_agent() -> None:
    with subprocess.Popen(
        prober_command("no-such-type", "ERROR", True),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        assert child.stderr is not None
        child.stdin.write(b"{}\n")
        child.stdin.flush()
        assert b"no plugin type 'no-such-type': installed are:" in child.stderr.read()
        assert child.wait(PATIENCE) == 1
