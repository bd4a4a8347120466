"""An agent running as root: what it must not run, read or connect to, and how it reports that."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugin_types.cni.networks import read_network
from plugin_types.cni.prober import CniProber
from plugin_types.cni.settings import CniSettingsSchema
from plugin_types.csi.prober import CsiProber
from plugin_types.csi.settings import CsiSettingsSchema
from plugind.client import Client
from plugind.toolbox import trust
from tests.certificates import certificate
from tests.processes import Machine, machine
from tests.support import eventually
from tests.test_cli import plugind

OTHER = 12_345

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def program(path: Path, text: str = "#!/bin/sh\necho OK\n", owner: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    os.chown(path, owner, 0)
    return path


def reason(client: Client, type: str, id: str, plural: str) -> str:
    (one,) = client.plugin(type, id).value[plural].values()
    return str(one["HealthDescription"])


def test_checks_that_others_may_change_are_unhealthy_and_do_not_run(here: Machine) -> None:
    ran = here.folder / "ran"
    touch = f"#!/bin/sh\ntouch {ran}\n"
    theirs = program(here.folder / "theirs", touch, OTHER)
    own = program(here.folder / "own")
    _, client = here.server()
    here.agent_with(
        "vm",
        client.address,
        "exec",
        f'probe_interval = "100ms"\ncheck "theirs" {{\n command = ["{theirs}"]\n}}\n'
        f'check "script" {{\n command = ["/bin/sh", "{theirs}"]\n}}\n'
        f'check "own" {{\n command = ["{own}"]\n}}\n',
    )
    eventually(lambda: len(client.plugins("exec").value) == 3)
    why = f"{theirs} belongs to user {OTHER}: what root runs or reads must be root's"
    assert reason(client, "exec", "theirs", "Checks") == f"{theirs} is not run: {why}"
    assert reason(client, "exec", "script", "Checks") == f"/bin/sh is not run: {why}"
    assert reason(client, "exec", "own", "Checks") == "OK"
    os.chown(theirs, 0, 0)
    eventually(ran.exists)
    ran.unlink()
    theirs.chmod(0o777)
    eventually(lambda: "can be written by others" in reason(client, "exec", "theirs", "Checks"))


def test_cni_networks_and_executables(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    settings = CniSettingsSchema().load(
        {"bin_dirs": [str(tmp_path / "bin")], "conf_dir": str(tmp_path / "net.d")}
    )
    answer = '#!/bin/sh\necho \'{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}\'\n'
    bridge = program(tmp_path / "bin/bridge", answer, OTHER)
    net = program(
        tmp_path / "net.d/10-pods.conflist",
        '{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"}]}',
    )
    prober = CniProber(settings)
    found: dict[tuple[str, str], Any] = {}
    for target in prober.discover().values():
        found |= prober.probe(target)
    unhealthy = found["bridge", "executable"]["HealthDescription"]
    assert unhealthy.startswith(f"{bridge} is not run: {bridge} belongs to user {OTHER}")
    assert unhealthy in found["pods", "network"]["HealthDescription"]

    net.chmod(0o646)
    network = read_network(str(net))
    assert network is not None
    assert network.problem == f"{net} is not read: {net} can be written by others than root"


def test_a_socket_behind_another_users_link(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    link = theirs / "disks.sock"
    link.symlink_to(tmp_path / "secret.sock")
    (tmp_path / "secret.sock").touch()
    settings = CsiSettingsSchema().load({"sockets": [f"{theirs}/*.sock"]})
    prober = CsiProber(settings)
    prober.state_dir = tmp_path

    def description() -> str:
        (target,) = prober.discover().values()
        (fingerprint,) = prober.probe(target).values()
        return str(fingerprint["HealthDescription"])

    assert description() == f"{link} is not a socket"
    os.lchown(link, OTHER, 0)
    assert description() == f"{link} is a symbolic link of user {OTHER}, which is not followed"


def config(folder: Path, more: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "agent.hcl"
    file.write_text(
        f'data_dir = "{folder}/data"\nports {{ http = 0 }}\nplugin_types {{ enabled = [] }}\n'
        f'client {{\n  enabled = true\n  servers = ["http://127.0.0.1:1"]\n{more}}}\n'
    )
    return file


def test_configuration_that_others_may_change_is_a_mistake(tmp_path: Path) -> None:
    file = config(tmp_path / "etc")
    assert plugind("config", "validate", str(file.parent)).returncode == 0
    file.chmod(0o666)
    for command in (("config", "validate"), ("agent", "--config"), ("reload", "--config")):
        done = plugind(*command, str(file.parent))
        assert (done.returncode, done.stderr) == (
            1,
            f"{file}: is not used by an agent that runs as root: "
            f"{file} can be written by others than root\n"
            "Error: the configuration has mistakes\n",
        )
    file.chmod(0o644)
    file.parent.chmod(0o777)
    assert f"{file.parent} can be written" in plugind("config", "validate", str(file)).stderr
    file.parent.chmod(0o1777)
    assert plugind("config", "validate", str(file)).returncode == 0


def test_configuration_of_a_server_alone_may_be_its_users(tmp_path: Path) -> None:
    file = tmp_path / "server.hcl"
    file.write_text(
        f'data_dir = "{tmp_path}/data"\nports {{ http = 0 }}\nserver {{ enabled = true }}'
    )
    os.chown(file, OTHER, OTHER)
    assert plugind("config", "validate", str(file)).returncode == 0


def test_files_that_the_configuration_names(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    policies = tmp_path / "policies"
    policies.mkdir(mode=0o755)
    (policies / "ops.hcl").write_text('agent { policy = "read" }\n')
    tokens = tmp_path / "tokens.hcl"
    tokens.touch(mode=0o600)
    pair = certificate(tmp_path, "agent")
    file = config(
        tmp_path / "etc",
        f'  token_file = "{token}"\n  cert_file = "{pair.cert}"\n  key_file = "{pair.key}"\n',
    )
    with file.open("a") as stream:
        stream.write(
            "server { enabled = true }\n"
            f'acl {{\n  enabled = true\n  policies = "{policies}"\n  tokens = "{tokens}"\n}}\n'
        )
    assert plugind("config", "validate", str(file)).returncode == 0
    token.chmod(0o602)
    os.chown(pair.cert, OTHER, 0)
    os.chown(pair.key, OTHER, 0)
    os.chown(tokens, OTHER, 0)
    (policies / "ops.hcl").chmod(0o666)
    done = plugind("config", "validate", str(file))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-6:-1] == [
        f"{file}:7:3: client.token_file {token} is not read: "
        f"{token} can be written by others than root",
        f"{file}:8:3: client.cert_file: {pair.cert} is not read: "
        f"{pair.cert} belongs to user {OTHER}: what root runs or reads must be root's",
        f"{file}:9:3: client.key_file: {pair.key} is not read: "
        f"{pair.key} belongs to user {OTHER}: what root runs or reads must be root's",
        f"{file}:14:3: acl.policies: {policies}/ops.hcl is not read: "
        f"{policies}/ops.hcl can be written by others than root",
        f"{file}:15:3: acl.tokens: {tokens} is not read: "
        f"{tokens} belongs to user {OTHER}: what root runs or reads must be root's",
    ]


def test_a_reload_takes_nothing_that_others_may_change(here: Machine) -> None:
    file = config(here.folder / "etc")
    process = here.start("agent", "--config", file)
    eventually(lambda: "event=watching" in process.logged)
    file.chmod(0o666)
    process.send(signal.SIGHUP)
    eventually(lambda: "is not used by an agent that runs as root" in process.logged)
    assert "event=reloaded" not in process.logged
    assert process.stop() == 0


def test_an_agent_of_another_user_is_not_bothered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    theirs = program(tmp_path / "check", owner=OTHER)
    assert trust.why_not_run([str(theirs)], "") != ""
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    assert trust.why_not_run([str(theirs)], "") == ""
