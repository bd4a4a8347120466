"""A server under attack and its honest clients: the four measurements of every attack.

They are taken before, during and after the attack: plain reads, health, the report of an honest
node, and the seconds until the death of a real driver, with a real agent, shows. Access control is
on; the honest clients have the token "one".
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from plugind.client import Client
from tests.attacks.attacker import Attack
from tests.attacks.measuring import PATH, WORST, Times, allow_files, call
from tests.processes import Machine, Process, machine
from tests.promises import Watch
from tests.support import eventually, up
from tests.test_quotas import Tokens

FILES = 12_000
MEMORY = 600  # MiB
DRIVER = "honest/ebs0.sock"
PLUGINS, NODES = 200, 16
NEWS = 2.0
"""Seconds within which the death of a driver must show, even under attack."""

REPORT = 0.1
"""The highest median of the seconds that an honest report may take."""

PAUSE = 0.02
"""Seconds between two rounds of calls, so that slow phases are sampled as often as they occur."""


@dataclass
class Figures:
    """The times of honest clients. ``news``: the seconds until a driver's death showed."""

    reads: Times = field(default_factory=Times)
    health: Times = field(default_factory=Times)
    reports: Times = field(default_factory=Times)
    news: float = 0.0
    is_late: bool = False

    @property
    def failures(self) -> list[str]:
        return self.reads.failures + self.health.failures + self.reports.failures


@dataclass
class Stand:
    """A server with access control, an honest agent with a driver, and a simulated honest node.

    Honest clients read ``path``, whose size no attack changes.
    """

    here: Machine
    tokens: Tokens
    token: Path
    server: Process
    client: Client
    driver: Process
    node_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    number: int = 0
    path: str = PATH

    @property
    def address(self) -> str:
        return self.client.address.partition("//")[2]

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def headers(self) -> dict[str, str]:
        token = self.tokens.secrets["one"]
        return {"X-Nomad-Token": token, "X-Plugind-Node-Secret": "an honest secret"}

    @property
    def memory(self) -> int:
        """Return the largest amount of memory, in MiB, that any process of the server has used."""
        return max(map(_most_memory, (self.server.pid, *self.server.children)))

    def measure(
        self, seconds: float, going_on: Callable[[], bool] = lambda: True, news: bool = True
    ) -> Figures:
        """Return the measurements of honest clients over that many seconds."""
        figures, end = Figures(), time.monotonic() + seconds
        while time.monotonic() < end:
            assert going_on(), "the attack has ended by itself"
            figures.reads.add(partial(call, self.port, self.path, headers=self.headers))
            figures.health.add(partial(call, self.port, "/v1/agent/health"))
            figures.reports.add(self._report)
            time.sleep(PAUSE)
        if news:
            self._kill_the_driver(figures)
        return figures

    def _report(self) -> bytes:
        """Report ten instances; one of them has changed."""
        self.number += 1
        fingerprints = [up(HealthDescription=f"{self.number}"), *[up()] * 9]
        plugins = {"csi": {f"p{number}": {"node": one} for number, one in enumerate(fingerprints)}}
        body = json.dumps({"Name": "honest", "Plugins": plugins}).encode()
        return call(self.port, f"/v1/node/{self.node_id}", "PUT", self.headers, body)

    def _kill_the_driver(self, figures: Figures) -> None:
        watch = Watch()
        self.driver.kill()
        while self.is_driver_healthy() and figures.news < WORST:
            time.sleep(PAUSE)
            figures.news, _ = watch.read()
        figures.is_late = watch.is_over(NEWS)
        self.driver = self.here.driver(DRIVER)
        eventually(self.is_driver_healthy, within=20)

    def is_driver_healthy(self) -> bool:
        """Return whether the server shows the driver's instance as healthy."""
        try:
            answer = call(self.port, "/v1/plugin/csi/ebs0", headers=self.headers)
        except OSError:
            return True  # the answer is unknown
        return json.loads(answer.partition(b"\r\n\r\n")[2])["NodesHealthy"] == 1

    def withstand(
        self,
        name: str,
        attack: Callable[[], AbstractContextManager[Attack]],
        *,
        ratio: float = 3.0,
        seconds: float = 3.0,
        proof: Callable[[], None] = lambda: None,
    ) -> None:
        """Run an attack, and fail unless honest clients get what they are promised, during it and
        after it.

        ``ratio`` is how many times as long reads may take at the median. ``proof`` is called during
        the attack, for more checks.
        """
        workers, idle = self.server.children, self.measure(seconds / 2)
        with attack() as going:
            during = self.measure(seconds, lambda: going.goes_on)
            proof()
            counts = going.counts()
        after = eventually(partial(self._recovered, ratio * idle.reads.median), within=20)
        row = self._row(name, idle, during, after)
        print(f"\n{row}\nthe attack: {dict(counts)}; afterwards {after.reads}")
        assert counts.total(), "the attack has done nothing"
        assert after is not None
        failures = idle.failures + during.failures + after.failures
        assert not failures, f"{row}: {failures}"
        longest = max(idle.reads.median, after.reads.median)
        assert during.reads.median < ratio * longest, row
        assert during.reports.median < max(REPORT, ratio * idle.reports.median), row
        assert not during.is_late, row
        assert self.memory < MEMORY, row
        assert self.server.popen.poll() is None
        assert self.server.children == workers, "a worker has died"
        health = call(self.port, "/v1/agent/health?type=server")
        assert health.startswith(b"HTTP/1.1 200 "), health
        faults = [line for line in self.server.logged.splitlines() if "Traceback" in line]
        assert not faults, f"{row}: {len(faults)} faults, such as {faults[0]}"

    def _recovered(self, most: float) -> Figures | None:
        """Return the measurements after an attack, once the median of reads is below ``most``
        again."""
        after = self.measure(1.0, news=False)
        return after if after.reads.median < most else None

    def _row(self, name: str, idle: Figures, during: Figures, after: Figures) -> str:
        """Return the row of the table in docs/limits.md."""
        factor = during.reads.median / max(idle.reads.median, after.reads.median)
        pairs = [
            f"{getattr(idle, each)} | {getattr(during, each)}"
            for each in ("reads", "health", "reports")
        ]
        news = f"{idle.news:.1f} | {during.news:.1f}"
        return f"| {name} | {' | '.join(pairs)} | {news} | {factor:.1f} | {self.memory} |"


@contextmanager
def stand(folder: Path, *sockets: str, **settings: str) -> Iterator[Stand]:
    """Start a server with default settings except for ``settings``, an agent and a driver.

    The server has 200 plugins on 16 nodes; the driver may have more ``sockets``.
    """
    allow_files(FILES)
    tokens = Tokens(folder)
    token = folder / "token"
    token.write_text(tokens.secrets["one"])
    token.chmod(0o600)
    acl = {
        "acl_enabled": "true",
        "acl_policies": str(folder / "policies"),
        "acl_tokens": str(folder / "tokens.hcl"),
    }
    with machine(folder) as here:
        server, client = here.server(server_heartbeat_ttl="1h", **acl, **settings)
        with Client(client.address, token=tokens.secrets["one"]) as client:
            for number in range(NODES):
                plugins = {"csi": {f"p{each}": {"node": up()} for each in range(PLUGINS)}}
                report = {"Name": f"vm{number}", "Datacenter": "dc1", "Plugins": plugins}
                client.report(str(uuid.uuid4()), "secret" * 8, report)
            driver = here.driver(DRIVER)
            settings = {"client_token_file": str(token)}
            here.agent("honest", client.address, "*.sock", *sockets, **settings)
            made = Stand(here, tokens, token, server, client, driver)
            eventually(lambda: _lists(client) and made.is_driver_healthy(), within=20)
            yield made


def _most_memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def _lists(client: Client) -> bool:
    return any(row["ID"] == "ebs0" for row in client.plugins("csi").value)
