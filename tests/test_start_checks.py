"""``plugind config validate`` and ``plugind agent`` find the same mistakes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from plugind.cli.checking import check
from plugind.serve.listening import listen
from plugind.types.configured import load_settings
from tests.certificates import Pair, certificate
from tests.processes import PLUGIND, Machine, machine
from tests.promises import COMMAND_MAXIMUM
from tests.support import eventually

NEITHER = ""
SERVER = "ports { http = 0 }\nserver { enabled = true }\n"
CLIENT = "client { enabled = true }\n"
DATA = 'data_dir = "data"\n'

# The first file, the second file, changes to make in their folder, and the expected message.
Case = tuple[str, str, Callable[[Path], object], str]


def nothing(folder: Path) -> None:
    pass


def data_is_a_file(folder: Path) -> None:
    (folder / "data").write_text("")


def data_leads_nowhere(folder: Path) -> None:
    (folder / "data").symlink_to("none")


def write(name: str, text: str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    return write


def pair(folder: Path) -> Pair:
    return certificate(folder, "agent")


def lone_certificate(folder: Path) -> None:
    pair(folder).key.unlink()


def encrypted_key(folder: Path) -> None:
    pair(folder).encrypt()


def key_of_another(folder: Path) -> None:
    certificate(folder, "other").key.replace(pair(folder).key)


def key_that_others_read(folder: Path) -> None:
    pair(folder).key.chmod(0o644)


HTTPS = 'servers = ["https://a"]\n'
PAIR = 'client {\n  cert_file = "agent.crt"\n  key_file = "agent.key"\n'

MISTAKES: dict[str, Case] = {
    "no role": (NEITHER, DATA, nothing, "{file}:1:1: neither server.enabled nor client.enabled"),
    "no data_dir": (SERVER, "", nothing, "{file}:1:1: data_dir is not set: say where"),
    "no data_dir of an agent": (CLIENT, "", nothing, "{file}:1:1: data_dir is not set: say where"),
    "data_dir is a file": (
        SERVER,
        DATA,
        data_is_a_file,
        "{file}:1:1: data_dir: {folder}/data is not a folder",
    ),
    "data_dir lies below a file": (
        SERVER,
        'data_dir = "data/inner"\n',
        data_is_a_file,
        "{file}:1:1: data_dir: {folder}/data is not a folder",
    ),
    "data_dir is a link to nothing": (
        CLIENT,
        DATA,
        data_leads_nowhere,
        "{file}:1:1: data_dir: {folder}/data is a link to nothing",
    ),
    "half an identity": (
        CLIENT,
        DATA,
        write("data/node-id", "6e4c5b7c-5f55-4a0b-9f3b-6a2c0a5d9b11"),
        "{file}:1:1: data_dir: {folder}/data/node-secret is missing; restore it",
    ),
    "a damaged identity": (
        CLIENT,
        DATA,
        write("data/node-secret", "short"),
        "{file}:1:1: data_dir: {folder}/data/node-secret is damaged; restore it",
    ),
    "an address of another machine": (
        DATA + SERVER,
        'bind_addr = "192.0.2.1"\n',
        nothing,
        "{file}:1:1: cannot listen on 192.0.2.1 port 0: this machine has no such address",
    ),
    "an address that is none": (
        DATA + SERVER,
        '\nbind_addr = "not a host"\n',
        nothing,
        "{file}:2:1: cannot listen on not a host port 0: ",
    ),
    "the access log's folder": (
        DATA + SERVER,
        'server {\n  access_log = "log/access.log"\n}\n',
        nothing,
        "{file}:2:3: server.access_log: the folder {folder}/log does not exist",
    ),
    "the access log is a folder": (
        DATA + SERVER,
        'server {\n  access_log = "."\n}\n',
        nothing,
        "{file}:2:3: server.access_log: {folder} is neither a regular file nor",
    ),
    "a token that is not there": (
        DATA + CLIENT,
        'client {\n  token_file = "agent.token"\n}\n',
        nothing,
        "{file}:2:3: client.token_file {folder}/agent.token cannot be read: No such file",
    ),
    "a token that is none": (
        DATA + CLIENT,
        'client {\n  token_file = "agent.token"\n}\n',
        write("agent.token", "two words"),
        "{file}:2:3: client.token_file {folder}/agent.token holds no token",
    ),
    "certificates that are not there": (
        DATA + CLIENT,
        f'client {{\n  ca_file = "ca.pem"\n{HTTPS}}}\n',
        nothing,
        "{file}:2:3: client.ca_file {folder}/ca.pem cannot be read: No such file",
    ),
    "certificates that are none": (
        DATA + CLIENT,
        f'client {{\n  ca_file = "ca.pem"\n{HTTPS}}}\n',
        write("ca.pem", "nonsense"),
        "{file}:2:3: client.ca_file {folder}/ca.pem has no certificates",
    ),
    "a client certificate without its key": (
        DATA + CLIENT,
        f'client {{\n  cert_file = "agent.crt"\n{HTTPS}}}\n',
        pair,
        "{file}:2:3: client.cert_file {folder}/agent.crt needs key_file beside it",
    ),
    "a key without its certificate": (
        DATA + CLIENT,
        f'client {{\n  key_file = "agent.key"\n{HTTPS}}}\n',
        pair,
        "{file}:2:3: client.key_file {folder}/agent.key needs cert_file beside it",
    ),
    "a client certificate that is not there": (
        DATA + CLIENT,
        PAIR + HTTPS + "}\n",
        nothing,
        "{file}:2:3: client.cert_file {folder}/agent.crt cannot be read: No such file",
    ),
    "a client certificate that is none": (
        DATA + CLIENT,
        PAIR + HTTPS + "}\n",
        write("agent.crt", "nonsense"),
        "{file}:2:3: client.cert_file {folder}/agent.crt has no certificates in PEM form",
    ),
    "a key that is not there": (
        DATA + CLIENT,
        PAIR + HTTPS + "}\n",
        lone_certificate,
        "{file}:3:3: client.key_file {folder}/agent.key cannot be read: No such file",
    ),
    "a key that is encrypted": (
        DATA + CLIENT,
        PAIR + HTTPS + "}\n",
        encrypted_key,
        "{file}:3:3: client.key_file {folder}/agent.key is encrypted, and nothing can ask for its",
    ),
    "the key of another certificate": (
        DATA + CLIENT,
        PAIR + HTTPS + "}\n",
        key_of_another,
        "{file}:3:3: client.key_file {folder}/agent.key is not the key of the certificate in "
        "{folder}/agent.crt",
    ),
    "ACLs without files": (
        DATA + SERVER,
        "acl {\n  enabled = true\n}\n",
        nothing,
        "{file}:2:3: acl.enabled is true, and neither acl.policies nor acl.tokens is set",
    ),
    "policies that are not there": (
        DATA + SERVER,
        'acl {\n  enabled = true\n  policies = "policies"\n}\n',
        nothing,
        "{folder}/policies: cannot be read: No such file",
    ),
    "tokens that are not there": (
        DATA + SERVER,
        'acl {\n  enabled = true\n  tokens = "tokens"\n}\n',
        nothing,
        "{folder}/tokens: cannot be read: No such file",
    ),
    "tokens with a mistake": (
        DATA + SERVER,
        'acl {\n  enabled = true\n  tokens = "tokens"\n}\n',
        write("tokens", 'token "x" {}\n'),
        "{folder}/tokens:1:1: ",
    ),
}


# Runs all commands in one process, because starting a process takes longer than the tests.
COMMANDS = """
import contextlib, io, json, sys
import click
from plugind.cli import Commands
found = []
for words in json.load(sys.stdin):
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed):
        try:
            Commands("plugind").main(words, standalone_mode=False)
        except click.ClickException as error:
            error.show()
    found.append(printed.getvalue())
print(json.dumps(found))
"""


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PLUGIND, *words], capture_output=True, text=True, timeout=COMMAND_MAXIMUM
    )


def both(folders: Iterable[Path], wrapper: Sequence[str] = ()) -> list[list[str]]:
    """Return the output of both commands for each folder; both must fail with the same output."""
    words = [
        [command, str(folder)]
        for folder in folders
        for command in ("config validate", "agent --config")
    ]
    done = subprocess.run(
        [*wrapper, sys.executable, "-c", COMMANDS],
        input=json.dumps([[*command.split(), folder] for command, folder in words]),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    lines = [
        [line for line in printed.splitlines() if not line.startswith("Warning: ")]
        for printed in json.loads(done.stdout)
    ]
    assert lines[0::2] == lines[1::2], "the start fails for the same"
    assert all(each[-1] == "Error: the configuration has mistakes" for each in lines)
    return [each[:-1] for each in lines[0::2]]


def configure(folder: Path, first: str, second: str) -> Path:
    (folder / "10.hcl").write_text(first)
    file = folder / "20.hcl"
    file.write_text(second)
    return file


def test_mistakes_that_keep_a_role_from_starting(tmp_path: Path) -> None:
    expected = {}
    for number, (first, second, prepare, message) in enumerate(MISTAKES.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        file = configure(folder, first, second)
        prepare(folder)
        expected[folder] = message.format(file=file, folder=folder)
    before = sorted(tmp_path.rglob("*"))
    for name, (line, *_), message in zip(MISTAKES, both(expected), expected.values(), strict=True):
        assert line.startswith(message), name
    assert sorted(tmp_path.rglob("*")) == before, "nothing is left behind"


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    configure(
        tmp_path,
        SERVER + CLIENT,
        'bind_addr = "192.0.2.1"\nclient {\n  token_file = "x"\n  ca_file = "y"\n}\n',
    )
    (lines,) = both([tmp_path])
    assert len(lines) == 4


def test_a_file_system_that_takes_no_files(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "log").mkdir()
    configure(tmp_path, SERVER + DATA, 'server {\n  access_log = "log/access.log"\n}\n')
    script = (
        f'mount -t tmpfs -o ro none "{tmp_path}/data" && '
        f'mount -t tmpfs -o ro none "{tmp_path}/log" && exec "$@"'
    )
    (lines,) = both([tmp_path], ["unshare", "--mount", "sh", "-c", script, "sh"])
    assert lines == [
        f"{tmp_path}/10.hcl:3:1: data_dir: {tmp_path}/data is not writable by root",
        f"{tmp_path}/20.hcl:2:3: server.access_log: {tmp_path}/log is not writable by root",
    ]


def test_a_port_that_needs_a_capability(tmp_path: Path) -> None:
    configure(
        tmp_path, DATA + SERVER, 'bind_addr = "0.0.0.0"\nports {\n  http = 80\n}\n'
    )  # a new network namespace, where ports below 1024 need the capability
    wrapper = ["unshare", "--net", "setpriv", "--bounding-set", "-net_bind_service"]
    (lines,) = both([tmp_path], wrapper)
    assert f"{tmp_path}/20.hcl:3:3: cannot listen on 0.0.0.0 port 80: Permission denied" in lines[0]


def test_a_machine_without_ipv6(tmp_path: Path) -> None:
    configure(tmp_path, DATA + SERVER, 'bind_addr = "::1"\n')
    (lines,) = both([tmp_path], ["unshare", "--net"])  # where no interface is up
    assert (
        f"{tmp_path}/20.hcl:1:1: cannot listen on ::1 port 0: this machine has no IPv6" in lines[0]
    )


WARNINGS = {
    "a short time to live": (
        SERVER,
        'server {\n  heartbeat_ttl = "1s"\n}\n',
        "{file}:2:3: server.heartbeat_ttl is below 5s",
    ),
    "forgotten before it is down": (
        SERVER,
        'server {\n  gc_threshold = "10s"\n}\n',
        "{file}:2:3: server.gc_threshold is below server.heartbeat_ttl",
    ),
    "a port that is not served": (
        SERVER + CLIENT,
        'client {\n  servers = [\n    "http://plugind-1:1",\n    "http://127.0.0.1:15"\n  ]\n}\n',
        "{file}:4:5: client.servers[1] is http://127.0.0.1:15, but the server of this",
    ),
    "https to the plain port": (
        SERVER + CLIENT,
        'ports { http = 15 }\nclient {\n  servers = ["https://localhost:15/x"]\n}\n',
        "{file}:3:14: client.servers[0] is https://localhost:15/x, but the server of this",
    ),
    "an agent without a token": (
        SERVER + CLIENT,
        'client { enabled = true }\nacl {\n  enabled = true\n  tokens = "tokens"\n}\n',
        "{file}:1:10: client.token_file is not set while acl.enabled is true",
    ),
    "a key that others may read": (
        CLIENT,
        PAIR + HTTPS + "}\n",
        "{file}:3:3: client.key_file {folder}/agent.key is open to other users: chmod o=,g-w ",
    ),
    "a client certificate for nothing": (
        CLIENT,
        PAIR + "}\n",
        "{file}:2:3: client.cert_file has no effect",
    ),
    "certificates for nothing": (
        CLIENT,
        'client {\n  ca_file = "/etc/ssl/certs/ca-certificates.crt"\n}\n',
        "{file}:2:3: client.ca_file has no effect",
    ),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_settings_that_cannot_work_are_warned_of(tmp_path: Path, name: str) -> None:
    first, second, message = WARNINGS[name]
    file = configure(tmp_path, DATA + first, second)
    if "agent.key" in second:
        key_that_others_read(tmp_path) if HTTPS in second else pair(tmp_path)
    settings, _ = load_settings([tmp_path], {}, None)
    (warning,) = check(settings).warnings
    assert str(warning).startswith(message.format(file=file, folder=tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        SERVER + CLIENT,
        SERVER + CLIENT.replace("true", 'true\nservers = ["http://plugind-1:4646"]'),
        "ports { http = 15 }\nserver { enabled = true }\n"
        + CLIENT.replace("true", 'true\nservers = ["http://127.0.0.1:15"]'),
        CLIENT.replace("true", 'true\nservers = ["http://127.0.0.1:15"]'),
    ],
)
def test_settings_that_may_work_are_not_warned_of(tmp_path: Path, text: str) -> None:
    settings, _ = load_settings([configure(tmp_path, DATA, text)], {"data_dir": "x"}, None)
    assert check(settings).warnings == ()


def test_warnings_are_printed_and_logged(tmp_path: Path, here: Machine) -> None:
    file = configure(tmp_path, DATA + SERVER, 'server {\n  heartbeat_ttl = "2s"\n}\n')
    message = f"{file}:2:3: server.heartbeat_ttl is below 5s"
    done = run("config", "validate", tmp_path)
    assert (done.returncode, done.stdout) == (0, "The configuration is valid.\n")
    assert done.stderr.startswith(f"Warning: {message}")
    process = here.start("agent", "--config", tmp_path)
    eventually(lambda: "event=serving" in process.logged)
    assert message in process.logged
    assert process.stop() == 0


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    (tmp_path / "logs").mkdir()
    with machine(tmp_path / "logs") as made:
        yield made


def test_a_port_in_use_is_a_warning_unless_plugind_itself_uses_it(
    tmp_path: Path, here: Machine
) -> None:
    file = configure(tmp_path, DATA + SERVER, "")
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        file.write_text(f"ports {{\n  http = {port}\n}}\n")
        done = run("config", "validate", tmp_path)
        text = f"cannot listen on 127.0.0.1 port {port}: Address already in use"
        assert done.returncode == 0
        assert done.stderr.startswith(f"Warning: {file}:2:3: {text}")
        assert run("agent", "--config", tmp_path).stderr.startswith(f"Error: {text}")
    process = here.start("agent", "--config", tmp_path)
    eventually(lambda: "event=serving" in process.logged)
    done = run("config", "validate", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    other = here.start(
        "agent", "--config", tmp_path, "--data-dir", tmp_path / "other", "--ports-http", "0"
    )
    address = eventually(lambda: re.search(r"address=http://127.0.0.1:(\d+)", other.logged))
    done = run("config", "validate", tmp_path, "--ports-http", address[1])
    assert "--ports-http: cannot listen on 127.0.0.1 port" in done.stderr, "not the one it serves"
    assert [process.stop(), other.stop()] == [0, 0]
