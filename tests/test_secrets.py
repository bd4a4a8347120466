"""No secret may be revealed: a server, an agent and the command line are used in every way.

Everything that they wrote, answered and printed is searched afterwards.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from plugind.acl.tokens import block, draw
from plugind.client import Client
from tests.api.gate import acl_block
from tests.processes import Machine, Process, counts, machine
from tests.promises import PATIENCE
from tests.support import eventually
from tests.test_cli import plugind

POLICIES = {
    "agent": 'namespace "default" { capabilities = ["csi-register-plugin"] }\n',
    "reader": 'plugin { policy = "read" }\nnode { policy = "read" }\nagent { policy = "read" }\n',
}


def traces(secret: str) -> dict[str, bytes]:
    """Return the forms in which a secret may appear: itself, its halves, and its encodings."""
    raw = secret.encode()
    found = {
        "itself": raw,
        "its first half": raw[: len(raw) // 2],
        "its second half": raw[len(raw) // 2 :],
        "in capitals": raw.upper(),
        "backwards": raw[::-1],
        "as hexadecimal digits": raw.hex().encode(),
        "as UTF-16": secret.encode("utf-16-le"),
    }
    forms = {"": raw}
    if re.fullmatch("[0-9a-f]+", secret):
        forms[" of its bytes"] = bytes.fromhex(secret)
        found["its bytes"] = bytes.fromhex(secret)
    for name, form in forms.items():
        for shift in range(3):  # preceding bytes shift the groups of base64
            text = base64.b64encode(b"x" * shift + form).rstrip(b"=")[shift and 4 : -4]
            found[f"as base64{name}, {shift}"] = text
            found[f"as base64 for URLs{name}, {shift}"] = text.translate(
                bytes.maketrans(b"+/", b"-_")
            )
    return found


def leaks(secrets: dict[str, str], seen: dict[str, bytes]) -> list[str]:
    return [
        f"{whose} in {where}, {how}"
        for whose, secret in secrets.items()
        for how, trace in traces(secret).items()
        for where, text in seen.items()
        if trace in text
    ]


@pytest.mark.parametrize("draw", [secrets.token_hex, secrets.token_urlsafe])
def test_the_search_finds_what_it_looks_for(draw: Callable[[int], str]) -> None:
    secret = draw(32)
    raw = secret.encode()
    for planted in (
        raw,
        raw[: len(raw) // 2 + 1],
        raw.upper(),
        raw.hex().encode(),
        *(base64.b64encode(b"user:"[:length] + raw) for length in range(6)),
        *(base64.urlsafe_b64encode(b"user:"[:length] + raw + b"tail") for length in range(6)),
    ):
        assert leaks({"x": secret}, {"y": b"before " + planted + b" after"}), planted
    assert not leaks({"x": secret}, {"y": secrets.token_hex(32).encode() * 100})


@dataclass
class Day:
    """The processes of a test, and all of their output by where it appeared."""

    here: Machine
    seen: dict[str, bytes] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.here.folder

    def keep(self, where: str, text: bytes | str) -> None:
        self.seen[f"{len(self.seen)}: {where}"] = text if isinstance(text, bytes) else text.encode()

    def run(self, *words: str | Path, address: str = "", token: str = "") -> str:
        """Run a command, keep its output, and return it."""
        done = plugind(*words, address=address, **({"PLUGIND_TOKEN": token} if token else {}))
        self.keep(f"plugind {words[0]} {words[1]}", done.stdout + done.stderr)
        return done.stdout

    def ask(
        self, address: str, method: str, path: str, headers: dict[str, str], body: str = ""
    ) -> bytes:
        """Send a request, keep the whole answer, and return its body."""
        with closing(
            http.client.HTTPConnection(address.partition("//")[2], timeout=PATIENCE)
        ) as client:
            client.request(method, path, body or None, headers)
            got = client.getresponse()
            answer = got.read()
        self.keep(f"{method} {path}", f"{got.status} {got.headers}\n".encode() + answer)
        return answer

    def look_at_files(self, but: set[Path]) -> None:
        for file in self.folder.rglob("*"):
            if file.is_file() and file not in but:
                self.keep(str(file), file.read_bytes())

    def look_at_processes(self) -> None:
        """Keep what processes reveal to others in /proc."""
        for process in self.here.started:
            for pid in (process.pid, *process.children):
                for name in ("cmdline", "environ"):
                    with suppress(OSError):  # it has ended meanwhile
                        self.keep(f"/proc/{pid}/{name}", Path(f"/proc/{pid}/{name}").read_bytes())


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    with machine(tmp_path) as here:
        yield Day(here)


def token_file(file: Path, secret: str) -> Path:
    file.touch(0o600)
    file.write_text(f"{secret}\n")
    return file


def test_no_secret_is_to_be_found(day: Day) -> None:
    tokens = {
        "management": draw("management", "management", [], None),
        "agent": draw("agent", "client", ["agent"], None),
        "reader": draw("reader", "client", ["reader"], None),
        "expired": draw("expired", "client", ["reader"], 1),
    }
    known = {name: secret for name, (secret, _) in tokens.items()}
    known["wrong"], known["wrong of a node"] = secrets.token_hex(32), secrets.token_urlsafe(32)
    configure(day.folder, [block(token) for _, token in tokens.values()])
    files = {
        name: token_file(day.folder / f"{name}.token", known[name]) for name in ("agent", "wrong")
    }
    server, address = serve(day)
    start_agents(day, address, files, known["reader"])
    data = {name: day.folder / f"agent-{name}" / "node-secret" for name in ("vm1", "vm2")}
    known |= {f"node {name}": file.read_text().strip() for name, file in data.items()}

    ask_everything(day, address, known)
    run_everything(day, address, known)
    mistake_everything(day, server, address, known)
    own = {*files.values(), *data.values()}
    day.look_at_processes()
    day.look_at_files(but=own)
    server.kill()
    day.look_at_files(but=own)

    assert {file.stat().st_mode & 0o777 for file in own} == {0o600}
    assert any(where.endswith("plugind.db-wal") for where in day.seen)
    assert any(where.endswith("backup.db") for where in day.seen)
    assert any(where.endswith("access.log") and text for where, text in day.seen.items())
    assert sum(map(len, day.seen.values())) > 100_000
    assert not leaks(known, day.seen)


def configure(folder: Path, blocks: list[str]) -> None:
    (folder / "policies").mkdir()
    for name, text in POLICIES.items():
        (folder / "policies" / f"{name}.hcl").write_text(text)
    (folder / "tokens.hcl").write_text("".join(blocks))
    (folder / "server.hcl").write_text(
        f'data_dir = "{folder}/server"\nlog_level = "DEBUG"\nports {{ http = 0 }}\n'
        f'server {{\n  enabled = true\n  access_log = "{folder}/access.log"\n}}\n'
        + acl_block(folder)
    )


def serve(day: Day) -> tuple[Process, str]:
    process = day.here.start("agent", "--config", day.folder / "server.hcl")
    return process, eventually(lambda: re.search(r"address=(http://\S+)", process.logged))[1]


def start_agents(day: Day, address: str, files: dict[str, Path], reader: str) -> None:
    """Start one agent whose plugin is listed, and one that is refused."""
    day.here.driver("vm1/ebs0.sock")
    more = {"log_level": "DEBUG", "log_json": "true"}
    day.here.agent("vm1", address, client_token_file=str(files["agent"]), **more)
    refused = day.here.agent("vm2", address, client_token_file=str(files["wrong"]), **more)
    client = Client(address, token=reader)
    eventually(lambda: counts(client, "ebs0") == (1, 1, 1, 1))
    eventually(lambda: "ACL token not found" in refused.logged)


def ask_everything(day: Day, address: str, known: dict[str, str]) -> None:
    """Send every read with every token, and tokens in wrong places."""
    paths = [
        *("/v1/plugins?type=csi", "/v1/plugin/csi/ebs0", "/v1/plugin-types", "/v1/nodes"),
        *("/v1/agent/self", "/v1/agent/members", "/v1/agent/health", "/v1/openapi.json"),
        *("/v1/acl/policies", "/v1/acl/policy/reader", "/v1/namespaces", "/v1/nothing"),
        *("/v1/plugins?type=csi&index=x", "/v1/plugins?type=nothing", "/v1/plugin/csi/none"),
    ]
    for secret in known.values():
        for path in paths:
            day.ask(address, "GET", path, {"X-Nomad-Token": secret})
        basic = base64.b64encode(f"user:{secret}".encode()).decode()
        for headers in (
            {"Authorization": f"Bearer {secret}"},
            {"Authorization": f"Basic {basic}"},
            {"Authorization": secret},
            {"X-Plugind-Node-Secret": secret},
            {"Cookie": f"token={secret}"},
        ):
            day.ask(address, "GET", "/v1/plugins?type=csi", headers)
        day.ask(address, "GET", f"/v1/plugins?token={secret}&secret={secret}&{secret}", {})
        day.ask(address, "PUT", "/v1/nodes", {"X-Nomad-Token": secret})
    for name in ("management", "reader"):
        own = day.ask(address, "GET", "/v1/acl/token/self", {"X-Nomad-Token": known[name]})
        assert json.loads(own)["SecretID"] == known[name]
        day.seen.popitem()  # the token's owner may read it
    manage = {"X-Nomad-Token": known["management"]}
    (node,) = json.loads(day.ask(address, "GET", "/v1/nodes", manage))
    path = f"/v1/node/{node['ID']}"
    day.ask(address, "GET", path, manage)
    for secret in (known["wrong of a node"], known["wrong"], known["node vm2"]):
        headers = {**manage, "X-Plugind-Node-Secret": secret}
        for body in (f'{{"X": "{secret}', f'{{"Digest": "x", "X": "{secret}"}}', ""):
            day.ask(address, "PUT", path, headers, body)
            day.ask(address, "PUT", f"{path}/heartbeat", headers, body)
        reader = {"X-Nomad-Token": known["reader"], "X-Plugind-Node-Secret": secret}
        day.ask(address, "DELETE", path, reader)


def run_everything(day: Day, address: str, known: dict[str, str]) -> None:
    config = day.folder / "server.hcl"
    assert "ebs0" in day.run("plugin", "status", address=address, token=known["reader"])
    assert "vm1" in day.run("node", "status", "vm1", address=address, token=known["reader"])
    day.run("node", "forget", "vm1", address=address, token=known["wrong"])
    day.run("plugin", "status", "--token", f"{known['wrong']}é", "--address", address)
    day.run("acl", "explain", "GET", "/v1/nodes", "--config", config)
    day.run("store", "backup", day.folder / "backup.db", "--config", config)


def mistake_everything(day: Day, server: Process, address: str, known: dict[str, str]) -> None:
    """Write secrets into the file of tokens, where hashes belong, and reload."""
    file, secret = day.folder / "tokens.hcl", known["management"]
    good, config = file.read_text(), day.folder / "server.hcl"
    said = "the configuration has a mistake"
    for number, text in enumerate(
        [
            f'token "x" {{\n  hash = "{secret}"\n  accessor = "{secret}"\n}}\n',
            f'token "x" {{\n  secret = "{secret}"\n  type = "{secret}"\n}}\n',
            f'token "x" {{\n  hash = {secret}\n}}\n',
            f'token "x" {{\n  hash = "sha256:{secret}\n}}\n',
            f"{secret}\n",
        ]
    ):
        file.write_text(good + text)
        server.send(signal.SIGHUP)
        eventually(lambda n=number: server.logged.count(said) > n)
        day.ask(address, "GET", "/v1/agent/health", {})
        if number == 0:
            day.run("reload", "--config", config)
    file.write_text(good)
    assert "reads the configuration again" in day.run("reload", "--config", config)
    eventually(lambda: "event=reloaded" in server.logged)
