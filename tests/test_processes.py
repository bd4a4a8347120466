"""The whole system with real processes: a server, agents, and drivers that come, fail and go."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from plugind.client import Client
from tests.processes import PLUGIND, Machine, counts, instance, machine
from tests.promises import COMMAND_MAXIMUM, PATIENCE, promised
from tests.support import eventually

ROOT = Path(__file__).parent.parent


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def test_two_agents_and_drivers_that_die_return_and_are_upgraded(here: Machine) -> None:
    port = here.port()
    server, client = here.server(port=port)
    for name in ("one", "two"):
        here.agent(name, client.address)
    here.driver("one/ebs0.sock", "--version", "1.0", "--topology", "zone=a")
    on_two = here.driver("two/ebs0.sock", "--version", "1.0", "--no-controller")
    here.driver("two/nfs.sock", "--no-controller")
    eventually(lambda: counts(client, "ebs0") == (1, 1, 2, 2))
    eventually(lambda: counts(client, "nfs") == (0, 0, 1, 1))
    body = client.plugin("csi", "ebs0").value
    names = {node["ID"]: node["Name"] for node in client.nodes().value}
    assert sorted(names[node_id] for node_id in body["Nodes"]) == ["one", "two"]
    assert [names[node_id] for node_id in body["Controllers"]] == ["one"]
    assert body["Topologies"] == [{"zone": "a"}]
    created = body["CreateIndex"]

    on_two.kill()
    eventually(lambda: counts(client, "ebs0") == (1, 1, 1, 2))
    on_two = here.driver("two/ebs0.sock", "--version", "1.0", "--no-controller")
    eventually(lambda: counts(client, "ebs0") == (1, 1, 2, 2))

    on_two.stop()
    here.driver("two/ebs0.sock", "--version", "2.0", "--no-controller")

    def versions() -> set[str]:
        nodes = client.plugin("csi", "ebs0").value["Nodes"].values()
        return {one["ProviderVersion"] for one in nodes if one["Healthy"]}

    eventually(lambda: versions() == {"1.0", "2.0"})
    assert counts(client, "ebs0") == (1, 1, 2, 2)
    assert client.plugin("csi", "ebs0").value["Version"] == "2.0"

    before = client.plugins("csi")
    assert server.stop() == 0
    _, client = here.server(port=port)
    assert client.plugins("csi").value == before.value
    assert client.plugins("csi").index == before.index
    here.send("two/nfs.sock", "fail", "the export is gone")
    eventually(lambda: counts(client, "nfs") == (0, 0, 0, 1))
    assert counts(client, "ebs0") == (1, 1, 2, 2)
    assert client.plugin("csi", "ebs0").value["CreateIndex"] == created


@pytest.mark.alone
def test_killed_within_one_second_and_back_within_five(here: Machine) -> None:
    _, client = here.server()
    here.agent("vm", client.address)
    driver = here.driver("vm/ebs0.sock")
    eventually(lambda: counts(client, "ebs0") == (1, 1, 1, 1))
    index = client.plugin("csi", "ebs0").index

    with promised(1):
        driver.kill()
        answer = client.plugin("csi", "ebs0", index=index)
    assert (answer.value["NodesHealthy"], answer.value["ControllersHealthy"]) == (0, 0)
    description = instance(client, "ebs0")["HealthDescription"]
    assert "refused" in description
    assert str(here.folder / "sockets/vm/ebs0.sock") in description

    with promised(5):
        here.driver("vm/ebs0.sock")
        eventually(lambda: counts(client, "ebs0") == (1, 1, 1, 1))


def test_a_driver_that_fails_from_its_first_second_is_listed_with_its_own_words(
    here: Machine,
) -> None:
    _, client = here.server()
    here.agent("vm", client.address)
    here.driver("vm/ebs0.sock", "--fail", "credentials are missing")
    eventually(lambda: counts(client, "ebs0"))
    eventually(lambda: "credentials are missing" in instance(client, "ebs0")["HealthDescription"])
    here.send("vm/ebs0.sock", "ok")
    eventually(lambda: (counts(client, "ebs0") or ())[2:] == (1, 1))


@pytest.mark.alone
def test_a_hung_driver_is_seen_and_delays_no_other(here: Machine) -> None:
    _, client = here.server()
    here.agent("vm", client.address)
    hung = here.driver("vm/hung.sock")
    other = here.driver("vm/other.sock")
    eventually(lambda: counts(client, "hung") == counts(client, "other") == (1, 1, 1, 1))
    with promised(5):
        hung.send(signal.SIGSTOP)
        with promised(1.5):
            other.kill()
            eventually(lambda: counts(client, "other") == (0, 1, 0, 1))
        eventually(lambda: counts(client, "hung") == (0, 1, 0, 1))
    assert "no answer" in instance(client, "hung")["HealthDescription"]
    with promised(5):
        hung.send(signal.SIGCONT)
        eventually(lambda: counts(client, "hung") == (1, 1, 1, 1))


def test_a_controller_and_a_node_process_that_share_an_id_are_one_plugin(here: Machine) -> None:
    _, client = here.server()
    here.agent("vm", client.address, "c/*.sock", "n/*.sock")
    controller = here.driver("vm/c/ebs0.sock", "--no-node")
    here.driver("vm/n/ebs0.sock", "--no-controller")
    eventually(lambda: counts(client, "ebs0") == (1, 1, 1, 1))
    controller.kill()
    eventually(lambda: counts(client, "ebs0") == (0, 1, 1, 1))


def test_two_sockets_in_one_role_are_reported_with_both_paths(here: Machine) -> None:
    _, client = here.server()
    here.agent("vm", client.address, "a/*.sock", "b/*.sock")
    here.driver("vm/a/ebs0.sock", "--no-controller", "--name", "one.example")
    eventually(lambda: counts(client, "ebs0") == (0, 0, 1, 1))
    second = here.driver("vm/b/ebs0.sock", "--no-controller", "--name", "two.example")
    eventually(lambda: counts(client, "ebs0") == (0, 0, 0, 1))
    description = instance(client, "ebs0")["HealthDescription"]
    assert str(here.folder / "sockets/vm/a/ebs0.sock") in description
    assert str(here.folder / "sockets/vm/b/ebs0.sock") in description
    second.stop()
    eventually(lambda: counts(client, "ebs0") == (0, 0, 1, 1))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_half_that_an_upgraded_driver_no_longer_has_goes(
    here: Machine, how: signal.Signals
) -> None:
    """Remove the half whether the old driver deletes its socket (SIGTERM) or not (SIGKILL)."""
    _, client = here.server()
    here.agent("vm", client.address)
    driver = here.driver("vm/ebs0.sock")
    eventually(lambda: counts(client, "ebs0") == (1, 1, 1, 1))
    driver.stop(how)
    eventually(lambda: counts(client, "ebs0") == (0, 1, 0, 1))
    here.driver("vm/ebs0.sock", "--no-controller")
    eventually(lambda: counts(client, "ebs0") == (0, 0, 1, 1))


def test_leftovers_of_a_dead_driver_take_nothing_from_the_live_one(here: Machine) -> None:
    _, client = here.server()
    here.agent("vm", client.address, "a/*.sock", "b/*.sock")
    dead = here.driver("vm/a/ebs0.sock", "--name", "one.example")
    eventually(lambda: counts(client, "ebs0") == (1, 1, 1, 1))
    dead.kill()
    here.driver("vm/b/ebs0.sock", "--name", "two.example")

    def description() -> str:
        return str(instance(client, "ebs0")["HealthDescription"])

    eventually(lambda: description().startswith("healthy; also claimed by"))
    assert str(here.folder / "sockets/vm/a/ebs0.sock") in description()
    assert counts(client, "ebs0") == (1, 1, 1, 1)


def test_a_driver_that_takes_the_place_of_one_that_lives_on(here: Machine) -> None:
    _, client = here.server()
    here.agent("vm", client.address)
    here.driver("vm/ebs0.sock", "--version", "1")
    eventually(lambda: counts(client, "ebs0") == (1, 1, 1, 1))
    new = here.driver("x/ebs0.sock", "--version", "2")
    (here.folder / "sockets/x/ebs0.sock").rename(here.folder / "sockets/vm/ebs0.sock")
    eventually(lambda: instance(client, "ebs0")["ProviderVersion"] == "2")
    new.kill()
    eventually(lambda: counts(client, "ebs0") == (0, 1, 0, 1))


def test_a_socket_that_goes_is_reported_until_it_is_forgotten(here: Machine) -> None:
    _, client = here.server()
    here.agent("vm", client.address)
    driver = here.driver("vm/ebs0.sock")
    eventually(lambda: counts(client, "ebs0") == (1, 1, 1, 1))
    assert driver.stop() == 0
    eventually(lambda: "not reported by vm" in instance(client, "ebs0")["HealthDescription"])
    client.forget_plugin("csi", "ebs0")
    time.sleep(0.5)  # there is no event for what must not come back
    assert counts(client, "ebs0") is None


def test_a_client_alone_listens_on_nothing(here: Machine) -> None:
    _, client = here.server()
    agent = here.agent("vm", client.address)
    eventually(lambda: client.nodes().value)
    inodes = set()
    for descriptor in Path(f"/proc/{agent.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            target = os.readlink(descriptor)
            if target.startswith("socket:["):
                inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert not [row for row in rows if row[3] == "0A" and row[9] in inodes], "0A is LISTEN"
    assert agent.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_in_good_order_also_where_they_were_ignored(
    here: Machine, number: signal.Signals
) -> None:
    old = signal.signal(number, signal.SIG_IGN)
    try:
        process = here.start(
            *("agent", "--dev", "--ports-http", "0"),
            environ={
                "PLUGIND_PLUGIN_TYPE_CSI_SOCKETS": str(here.folder / "none/*.sock"),
                "MARK_OF_A_TEST": str(here.folder),
            },
        )
    finally:
        signal.signal(number, old)
    eventually(lambda: "connected" in process.logged)
    address = re.search(r"address=(http://\S+)", process.logged)
    assert address
    node, itself = (
        requests.get(f"{address[1]}/v1/{path}", timeout=PATIENCE).json()
        for path in ("nodes", "agent/self")
    )
    assert itself["stats"]["client"]["node_id"] == node[0]["ID"]
    mark = f"MARK_OF_A_TEST={here.folder}"
    assert len(marked(mark)) >= 2, "the server with the agent, and a prober"
    assert process.stop(number) == 0
    assert "Traceback" not in process.logged
    eventually(lambda: not marked(mark))


def test_two_servers_on_one_port(here: Machine) -> None:
    _, client = here.server()
    port = client.address.rpartition(":")[2]
    second = here.start(
        *("agent", "--server-enabled", "true", "--ports-http", port),
        *("--data-dir", here.folder / "second"),
    )
    assert second.popen.wait(PATIENCE) == 1
    assert second.logged.startswith("Error: cannot listen on 127.0.0.1 port")
    assert second.logged.count("\n") == 1


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Yield a folder whose path is short enough for sockets below it."""
    with tempfile.TemporaryDirectory(prefix="plugind-test-") as folder:
        yield Path(folder)


def test_make_run_shows_two_drivers_and_leaves_nothing_behind(short_path: Path) -> None:
    """Run ``make run`` in its own process group, and end it as Ctrl-C in a terminal does."""
    mark = f"MARK_OF_A_TEST={short_path.name}"
    environ = {**os.environ, "PLUGIND_PORTS_HTTP": "0", "TMPDIR": str(short_path)}
    output = short_path / "output"
    with output.open("wb") as stream:
        group = subprocess.Popen(
            ["/usr/bin/env", mark, sys.executable, ROOT / "examples/run.py"],
            env=environ,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        text = eventually(lambda: (t := output.read_text()) and "address=http" in t and t)
        address = text.partition("address=")[2].split()[0]
        url = f"{address}/v1/plugins?type=csi"
        eventually(
            lambda: (
                [row["NodesHealthy"] for row in requests.get(url, timeout=PATIENCE).json()]
                == [1, 1]
            )
        )
        rows = {row["ID"]: row for row in requests.get(url, timeout=PATIENCE).json()}
        assert set(rows) == {"ebs0", "nfs"}
        assert len(marked(mark)) >= 5
        printed = eventually(lambda: "another terminal" in (t := output.read_text()) and t)
        for command in ("fail 'disk on fire'", "ok"):
            assert re.search(rf"csi-tell --socket {short_path}/\S+/ebs0.sock {command}\n", printed)
        assert f"curl -s '{url}'" in printed
        assert f"export PLUGIND_ADDR={address}" in printed, "it is not the default one"
        os.killpg(group.pid, signal.SIGINT)
        assert group.wait(PATIENCE) == 0
        eventually(lambda: not marked(mark))
    finally:
        if group.poll() is None:
            os.killpg(group.pid, signal.SIGKILL)
            group.wait(PATIENCE)
    assert not [path for path in short_path.iterdir() if path.name.startswith("plugind")]


def marked(mark: str) -> list[int]:
    """Return the processes that have a mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_the_command_is_there() -> None:
    done = subprocess.run(
        [PLUGIND, "version"], capture_output=True, text=True, check=True, timeout=COMMAND_MAXIMUM
    )
    assert done.stdout.startswith("plugind 0.")
    assert isinstance(Client("http://127.0.0.1:1"), Client)
