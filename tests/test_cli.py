"""The command line as people and programs use it, against a live server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import PLUGIND
from tests.promises import COMMAND_MAXIMUM, PATIENCE
from tests.support import FakeAgent, Live, down, eventually, serving, up


def plugind(
    *words: str | Path, address: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PLUGIND_", "NOMAD_"))}
    if address:
        environ["PLUGIND_ADDR"] = address
    return subprocess.run(
        [PLUGIND, *words],
        capture_output=True,
        text=True,
        timeout=COMMAND_MAXIMUM,
        env={**clean, **environ},
    )


@contextmanager
def printing(*words: str, address: str) -> Iterator[list[str]]:
    """Run a command until the block ends, with Ctrl-C; yield the lines that it prints so far."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PLUGIND_", "NOMAD_"))}
    process = subprocess.Popen(
        [PLUGIND, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**clean, "PLUGIND_ADDR": address, "PYTHONUNBUFFERED": "1"},
    )
    found: list[str] = []
    assert process.stdout
    reader = threading.Thread(target=lambda: found.extend(process.stdout or ()))
    reader.start()
    try:
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        reader.join()
        process.stdout.close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Live]:
    with serving(tmp_path, live=True) as served:
        assert isinstance(served, Live)
        yield served


@pytest.fixture
def agent(api: Live) -> FakeAgent:
    agent = FakeAgent(api, "abcdef01-2222-4333-8444-555555555555", name="vm1")
    agent.report(
        {
            "ebs0": {
                "node": down(
                    "[disk] on fire", UpdateTime="2026-01-31T23:00:00.5Z", Provider="ebs.example"
                )
            },
            "nfs": {"controller": up(), "node": up(Provider="nfs.example", ProviderVersion="1.2")},
        }
    )
    return agent


def test_the_operator_at_night(api: Live, agent: FakeAgent) -> None:
    """Check that one call shows which storage driver is down, where, why and since when."""
    done = plugind("plugin", "status", address=api.address)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [
        "csi",
        "ebs0",
        "ebs.example",
        "Controllers",
        "0/0,",
        "Nodes",
        "0/1",
        "unhealthy",
    ] in lines
    assert ["csi", "nfs", "nfs.example", "Controllers", "1/1,", "Nodes", "1/1", "healthy"] in lines
    (broken,) = [line for line in lines if line[-2:] == ["on", "fire"]]
    assert broken[:5] == ["csi", "ebs0", "node", "vm1", "2026-01-31T23:00:00Z"]
    assert "[disk]" in broken


def test_one_plugin(api: Live, agent: FakeAgent) -> None:
    for name in ("nfs", "csi/nfs"):
        done = plugind("plugin", "status", name, address=api.address)
        assert done.returncode == 0, done.stderr
        assert "1/1 healthy" in done.stdout
        assert "vm1" in done.stdout
        assert "1.2" in done.stdout


def test_json_is_what_the_server_said(api: Live, agent: FakeAgent) -> None:
    done = plugind("plugin", "status", "--json", address=api.address)
    shown = json.loads(done.stdout)
    assert shown == {type: api.call("GET", f"/v1/plugins?type={type}").json for type in shown}
    assert [row["ID"] for row in shown["csi"]] == ["ebs0", "nfs"]
    done = plugind("plugin", "status", "ebs0", "--json", address=api.address)
    assert json.loads(done.stdout) == api.call("GET", "/v1/plugin/csi/ebs0").json
    done = plugind("node", "status", "--json", address=api.address)
    assert json.loads(done.stdout) == api.call("GET", "/v1/nodes").json
    done = plugind("version", "--json")
    assert set(json.loads(done.stdout)) == {"plugind", "python"}


def test_nodes(api: Live, agent: FakeAgent) -> None:
    done = plugind("node", "status", address=api.address)
    assert [agent.node_id[:8], "vm1", "dc1", "ready"] in [
        line.split() for line in done.stdout.splitlines()
    ]
    for name in (agent.node_id, agent.node_id[:8], "vm1"):
        done = plugind("node", "status", name, address=api.address)
        assert done.returncode == 0, done.stderr
        assert "on fire" in done.stdout
        assert "nfs" in done.stdout


def test_the_process_behind_an_instance(api: Live, agent: FakeAgent) -> None:
    commands = ("plugin", "status", "nfs"), ("node", "status", "vm1")
    for words in commands:
        assert "Process" not in plugind(*words, address=api.address).stdout
    process = {"Name": "csi-nfs.service.nfs[7]", "JobID": "csi-nfs.service", "TaskGroup": "nfs"}
    one, other = up(AllocID="one"), up(AllocID="other")
    plugins = {
        "nfs": {"controller": one, "node": one},
        "ebs0": {"node": other},
        "new": {"node": up()},
    }
    described = {"one": process, "other": {**process, "Name": "ebs[8]"}}
    agent.report(plugins, Allocations=described)
    plugins["ebs0"] = {"node": down("it is dead")}
    agent.report(plugins, Allocations={"one": process})
    lines = [plugind(*words, address=api.address).stdout.splitlines() for words in commands]
    assert [len([line for line in one if process["Name"] in line]) for one in lines] == [2, 2]
    assert any("ebs[8] (failed)" in line for line in lines[1])
    assert all(
        any(line.split()[-2:] == ["Process", "Description"] for line in one) for one in lines
    )


def test_forgetting(api: Live, agent: FakeAgent) -> None:
    done = plugind("plugin", "forget", "ebs0", address=api.address)
    assert (done.returncode, done.stdout) == (0, "Forgot the unhealthy instances of csi/ebs0.\n")
    assert api.call("GET", "/v1/plugin/csi/ebs0").status == 404
    done = plugind("node", "forget", "vm1", address=api.address)
    assert done.returncode == 0
    assert api.call("GET", "/v1/nodes").json == []
    assert plugind("plugin", "status", address=api.address).stdout == "No plugins.\n"
    assert plugind("node", "status", address=api.address).stdout == "No nodes.\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("plugin", "status", "none"), "no plugin 'none'"),
        (("plugin", "forget", "none"), "no plugin 'none'"),
        (
            ("plugin", "status", "nope/ebs0"),
            "no plugin type 'nope' on the server; use one of: cni, csi",
        ),
        (("plugin", "status", "--type", "nope"), "no plugin type 'nope'"),
        (("node", "status", "none"), "no node 'none'"),
        (("node", "forget", "none"), "no node 'none'"),
        (("node", "forget", ""), "no node ''"),
        (("node", "forget", "abc"), "no node 'abc'"),
        (("plugin", "forget", ""), "no plugin ''"),
    ],
)
def test_missing_objects(api: Live, agent: FakeAgent, words: tuple[str, ...], message: str) -> None:
    done = plugind(*words, address=api.address)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {message}")
    assert done.stderr.count("\n") == 1


def test_watching_goes_on_through_a_restart_of_the_server(tmp_path: Path) -> None:
    with serving(tmp_path, live=True, ports_http="0") as api:
        assert isinstance(api, Live)
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})
        watch = subprocess.Popen(
            [PLUGIND, "plugin", "status", "ebs0", "--watch", "--json", "--address", api.address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert watch.stdout is not None
            assert json.loads(watch.stdout.readline())["NodesHealthy"] == 1
            eventually(lambda: api.services.catalogue.parked == 1)
            agent.report({"ebs0": {"node": down()}})
            assert json.loads(watch.stdout.readline())["NodesHealthy"] == 0
            eventually(lambda: api.services.catalogue.parked == 1)
            agent.report({"ebs0": {"node": None}})
            assert json.loads(watch.stdout.readline()) is None
            eventually(lambda: api.services.catalogue.parked == 1)
            agent.report({"ebs0": {"node": up()}})
            assert json.loads(watch.stdout.readline())["NodesHealthy"] == 1
        finally:
            watch.send_signal(signal.SIGINT)
            _, err = watch.communicate(timeout=PATIENCE)
        assert "Traceback" not in err


@pytest.mark.parametrize("variable", ["PLUGIND_ADDR", "NOMAD_ADDR"])
def test_a_server_that_cannot_be_reached(variable: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        done = plugind("plugin", "status", **{variable: address})
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: no answer from {address}: connection refused; is that the right address, "
        "and is the server running?\n"
    )


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:4646", "ftp://x", "http://", "nonsense", "http://[::1", "http://x:99999"],
)
def test_invalid_addresses(address: str) -> None:
    done = plugind("plugin", "status", "--address", address)
    assert done.returncode == 1
    text = f"Error: {address!r} is not a server's address; use one such as http://"
    assert done.stderr.startswith(text)


def test_something_else_that_answers(tmp_path: Path) -> None:
    """Check that the address of another web server gives a one-line error."""
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1/plugin-types").write_text("<html>hello</html>")
    server = subprocess.Popen(
        [PLUGIND.with_name("python"), "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        port = server.stdout.readline().split("port ")[1].split()[0]
        address = f"http://127.0.0.1:{port}"
        done = plugind("plugin", "status", address=address)
        assert done.returncode == 1
        assert done.stderr == (
            f"Error: {address} did not answer as a plugind does; is that the right address?\n"
        )
        (tmp_path / "v1/plugin-types").unlink()
        done = plugind("plugin", "status", address=address)
        assert "is it a Nomad server" in done.stderr
    finally:
        server.kill()
        server.communicate()


def test_validate(tmp_path: Path) -> None:
    good = tmp_path / "good.hcl"
    good.write_text('data_dir = "data"\nports { http = 0 }\nserver { enabled = true }\n')
    done = plugind("config", "validate", good)
    assert (done.returncode, done.stdout) == (0, "The configuration is valid.\n")
    bad = tmp_path / "bad.hcl"
    bad.write_text('portz { http = 1 }\nserver {\n  heartbeat_ttl = "soon"\n}\n')
    done = plugind("config", "validate", bad)
    assert done.returncode == 1
    assert f"{bad}:1:1: " in done.stderr
    assert f"{bad}:3:" in done.stderr
    assert "ports" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("acl",),
        ("acl", "token", "create"),
        ("acl", "policy", "check"),
        ("agent",),
        ("plugin",),
        ("plugin", "status"),
        ("plugin", "forget"),
        ("node",),
        ("node", "status"),
        ("node", "forget"),
        ("reload",),
        ("config",),
        ("config", "validate"),
        ("version",),
        ("csi-sample",),
        ("csi-tell",),
    ],
)
def test_help_is_there(words: tuple[str, ...]) -> None:
    done = plugind(*words, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: plugind")
    assert len(done.stdout.splitlines()) > 3


def test_nothing_to_run_is_reported(tmp_path: Path) -> None:
    done = plugind("agent")
    assert done.returncode == 1
    assert "there is nothing to run" in done.stderr
    done = plugind("agent", "--server-enabled", "true")
    assert "data_dir is not set" in done.stderr
    done = plugind("agent", "--server-enabled", "maybe")
    assert "--server-enabled" in done.stderr
    done = plugind("agent", PLUGIND_SERVR_ENABLED="true")
    assert "PLUGIND_SERVR_ENABLED" in done.stderr
    assert "PLUGIND_SERVER_ENABLED" in done.stderr


def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    script = f'cd "{tmp_path}/gone" && rmdir "{tmp_path}/gone" && exec "{PLUGIND}" agent'
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, timeout=COMMAND_MAXIMUM
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: the working directory cannot be used: No such file")
    assert done.stderr.count("\n") == 1


def test_secrets_in_the_wrong_place_are_not_shown() -> None:
    done = plugind("plugin", "status", "--address", "http://u:hunter2@127.0.0.1:1")
    assert (done.returncode, done.stderr) == (
        1,
        "Error: remove the user and password from the server's address; use --token\n",
    )
    done = plugind("plugin", "status", "--token", "ключ")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: the token has characters other than printable ASCII")
    assert "ключ" not in done.stderr


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("plugind plugin status --type c", ["cni", "csi"]),
        ("plugind type check e", ["exec"]),
        ("plugind ac", ["acl"]),
    ],
)
def test_a_shell_completes_types_and_commands(words: str, completed: list[str]) -> None:
    script = (
        'eval "$(_PLUGIND_COMPLETE=bash_source plugind)"; '
        f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
        '_plugind_completion plugind; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{PLUGIND.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert (done.stderr, done.stdout.split()) == ("", completed)
