"""A reload under load: every answer follows either the old or the new policies.

The two sets differ in several decisions that one answer shows together, and in the token's policy;
so an answer made from parts of both would show.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGHUP
from typing import Any

import pytest

from plugind.acl.tokens import Token, block, draw
from plugind.client import Client
from tests.api.gate import acl_block
from tests.processes import Machine, Process, machine
from tests.promises import PATIENCE
from tests.support import SECRET, eventually

THREADS, EACH = 20, 50
IN_FLIGHT = THREADS * EACH
BUSY = 429
"""The status that depends on the load from other clients, not on policies."""

NODE_ID = "2f8d0c5e-6f7b-4e0a-9a53-1f6f4f0c8a11"
REPORT = {"Name": "vm1", "Plugins": {"csi": {}, "exec": {}}}
POLICIES = {
    "one": 'plugin { policy = "list" }\n'
    'namespace "default" { capabilities = ["csi-register-plugin"] }\n',
    "two": 'node { policy = "read" }\n'
    'namespace "default" { capabilities = ["exec-register-plugin"] }\n',
}
BROKEN = "# no policy\nnode { policy = read }\n"

REQUESTS: list[tuple[str, str, Any]] = [
    ("PUT", "/v1/search", {"Context": "all"}),
    ("GET", "/v1/acl/policies", None),
    ("GET", "/v1/acl/token/self", None),
    ("PUT", f"/v1/node/{NODE_ID}", REPORT),
]


@dataclass
class Harness:
    """The files of a server that reloads after each change, and its log."""

    folder: Path
    token: Token
    process: Process
    client: Client

    def put(self, name: str) -> None:
        """Put the given policy, and no other, into force."""
        write(self.folder, name, self.token)
        self._reload("event=reloaded")

    def break_(self, name: str) -> None:
        """Write a policy with a mistake, together with another set of tokens without mistakes."""
        write(self.folder, name, self.token)
        (self.folder / "policies/broken.hcl").write_text(BROKEN)
        self._reload("the configuration has a mistake")

    def _reload(self, said: str) -> None:
        before = self.process.logged.count(said)
        self.process.send(SIGHUP)
        eventually(lambda: self.process.logged.count(said) > before)


def write(folder: Path, name: str, token: Token) -> None:
    for file in (folder / "policies").iterdir():
        file.unlink()
    (folder / "policies" / f"{name}.hcl").write_text(POLICIES[name])
    caller = type(token.caller)(token.caller.accessor, "x", "client", (name,))
    (folder / "tokens.hcl").write_text(block(Token(caller, token.hash)))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    (tmp_path / "policies").mkdir()
    with machine(tmp_path) as made:
        yield made


def test_every_answer_is_of_one_set_of_policies(here: Machine) -> None:
    secret, token = draw("x", "client", ["one"], None)
    write(here.folder, "one", token)
    config = here.folder / "server.hcl"
    config.write_text(acl_block(here.folder))
    process = here.start(
        *("agent", "--server-enabled", "true", "--config", config),
        *("--ports-http", "0", "--data-dir", here.folder / "data"),
    )
    address = eventually(lambda: re.search(r"address=http://(\S+)", process.logged))[1]
    harness = Harness(here.folder, token, process, Client(f"http://{address}"))
    seen: Counter[str] = Counter()
    stop = threading.Event()
    with ThreadPoolExecutor(THREADS) as pool:
        asking = [pool.submit(ask, address, secret, stop, seen) for _ in range(THREADS)]
        try:
            flip(harness, address, secret, asking)
        finally:
            stop.set()
        for each in asking:
            each.result(PATIENCE)
    assert set(seen) == {"one", "two"}, seen
    assert seen.total() >= IN_FLIGHT


def flip(harness: Harness, address: str, secret: str, asking: list[Future[None]]) -> None:
    harness.put("two")
    assert now(address, secret) == {"two"}
    harness.break_("one")
    assert now(address, secret) == {"two"}, "a mistake changes nothing"
    place = f"{harness.folder}/policies/broken.hcl:2:17: "
    assert place in harness.process.logged
    message = harness.client.health().value["server"]["message"]
    assert (message.split("; ")[0], message.split("; ")[-1]) == ("ok", "failed reloads: 1")
    harness.put("one")
    assert now(address, secret) == {"one"}
    assert "failed reloads" not in harness.client.health().value["server"]["message"]
    assert not [each for each in asking if each.done()], "they ask until they are stopped"


def now(address: str, secret: str) -> set[str]:
    """Return the policies that apply to requests that begin now."""
    return {
        policy_of(number, *eventually(partial(send, address, secret, number)))
        for number in range(len(REQUESTS))
    }


def ask(address: str, secret: str, stop: threading.Event, seen: Counter[str]) -> None:
    """Send the EACH requests, and read the answers only once all are sent; repeat this."""
    while not stop.is_set():
        with ExitStack() as until_end:
            sent = []
            for number in range(EACH):
                sock = until_end.enter_context(connected(address))
                sock.sendall(request(secret, number % len(REQUESTS)))
                sent.append((number % len(REQUESTS), sock))
            for number, sock in sent:
                status, body = answer(sock)
                if status != BUSY:
                    seen[policy_of(number, status, body)] += 1


def send(address: str, secret: str, number: int) -> tuple[int, bytes] | None:
    """Return the status and the body of an answer; None if the server is busy."""
    with connected(address) as sock:
        sock.sendall(request(secret, number))
        status, body = answer(sock)
    return None if status == BUSY else (status, body)


def connected(address: str) -> socket.socket:
    host, _, port = address.partition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def request(secret: str, number: int) -> bytes:
    method, path, body = REQUESTS[number]
    data = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Nomad-Token: {secret}\r\n"
        f"X-Plugind-Node-Secret: {SECRET}\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def answer(sock: socket.socket) -> tuple[int, bytes]:
    whole = b"".join(iter(lambda: sock.recv(65536), b""))
    head, _, body = whole.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def policy_of(number: int, status: int, body: bytes) -> str:
    """Return the policy that an answer follows, or the answer if it follows none or both."""
    if status != 200:
        return f"{REQUESTS[number]}: {status} {body!r}"
    value = json.loads(body)
    found: Any = [
        lambda: sorted({"plugins", "nodes"} & value["Matches"].keys()),
        lambda: [each["Name"] for each in value],
        lambda: value["Policies"],
        lambda: [each["Type"] for each in value["Rejected"]],
    ][number]()
    of_one = [["plugins"], ["one"], ["one"], ["exec"]][number]
    of_two = [["nodes"], ["two"], ["two"], ["csi"]][number]
    return "one" if found == of_one else "two" if found == of_two else f"{number}: {body!r}"
