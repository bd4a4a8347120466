"""Three servers and three members of etcd, with a proxy on each link between any two of them."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from tests.consistency.calls import Server
from tests.consistency.checker import Bounds
from tests.consistency.peers import PeerLinks
from tests.consistency.proxy import Proxy, proxies
from tests.consistency.rigs import CUT, KILL, PAUSE, STALL, Link, Rig, Target
from tests.ports import reserved_port
from tests.processes import Machine, Process, machine
from tests.promises import eventually
from tests.store.etcd.members import Member, are_agreed, members

NAMES = ("s0", "s1", "s2")
EVERY_SERVER = frozenset(NAMES)

BOUNDS = Bounds(wake=1.0, recovery=8.0)
"""``recovery`` is long because a member whose call ran into its deadline is skipped for 5 s."""


@dataclass
class EtcdServer:
    """A server with its own data directory and configuration file."""

    name: str
    made: Machine
    port: int
    config: Path
    servers: frozenset[str]
    ways: Sequence[str] = (KILL, PAUSE)
    process: Process | None = None

    def start(self) -> None:
        """Start the process; with ``wait``, wait until it answers, and start it again if it ended
        because etcd did not answer in time, as a service manager does."""
        self.process = self.made.start(
            *("agent", "--server-enabled", "true", "--ports-http", str(self.port)),
            *("--data-dir", self.config.with_suffix(""), "--config", self.config),
        )

    def wait(self) -> None:
        eventually(self._answers)

    def _answers(self) -> bool:
        assert self.process is not None
        logged = self.process.logged
        if self.process.popen.poll() is not None:
            assert "etcd does not answer" in logged, logged[-2_000:]
            self.start()
        return "address=" in logged

    def break_(self, way: str) -> None:
        assert self.process is not None
        if way == KILL:
            self.process.kill()
        else:
            self.process.send(signal.SIGSTOP)

    def mend(self, way: str) -> None:
        assert self.process is not None
        if way == KILL:
            self.start()
            self.wait()
        else:
            self.process.send(signal.SIGCONT)


@dataclass
class MemberTarget:
    """A member of etcd as a target of faults; any server may be using it."""

    name: str
    member: Member
    servers: frozenset[str] = EVERY_SERVER
    ways: Sequence[str] = (KILL, PAUSE)

    def break_(self, way: str) -> None:
        if way == KILL:
            self.member.kill()
        else:
            self.member.signal(signal.SIGSTOP)

    def mend(self, way: str) -> None:
        if way == KILL:
            self.member.start()
        else:
            self.member.signal(signal.SIGCONT)


@dataclass
class Together:
    """Several parts that are broken together."""

    name: str
    parts: Sequence[Target]
    servers: frozenset[str]

    @property
    def ways(self) -> Sequence[str]:
        return self.parts[0].ways

    def break_(self, way: str) -> None:
        for each in self.parts:
            each.break_(way)

    def mend(self, way: str) -> None:
        for each in self.parts:
            each.mend(way)


@contextmanager
def on_etcd(folder: Path, *, ttl: str) -> Iterator[Rig]:
    """Run the servers and the members."""
    with ExitStack() as until_end:
        links = until_end.enter_context(proxies())
        peers = PeerLinks(links)
        found = until_end.enter_context(members(3, front=peers.front, is_ready=False))
        peers.members = found
        for each in found:
            each.wait()
        made = until_end.enter_context(machine(folder))
        servers: list[Server] = []
        running: list[EtcdServer] = []
        each_member = [MemberTarget(f"member {each.name}", each) for each in found]
        quorum = Together("two members of three", each_member[1:], EVERY_SERVER)
        targets: list[Target] = [*each_member, quorum, *_partitions(peers)]
        for name in NAMES:
            uplinks = [links.link("127.0.0.1", int(e.address.rpartition(":")[2])) for e in found]
            config = _config(folder / f"{name}.hcl", [each.address for each in uplinks], ttl)
            port = until_end.enter_context(reserved_port())
            only = frozenset([name])
            running.append(EtcdServer(f"server {name}", made, port, config, only))
            each_link = [
                Link(f"link from {name} to {member.name}", uplink, only)
                for member, uplink in zip(found, uplinks, strict=True)
            ]
            front = links.link("127.0.0.1", port)
            servers.append(Server(name, front.address))
            targets += [
                running[-1],
                Link(f"link to {name}", front, only),
                Together(f"all links from {name}", each_link, only),
                *each_link,
            ]
        _start(running)

        def restart() -> None:
            for each in running:
                each.break_(KILL)
            _start(running)

        yield Rig(servers, targets, restart, BOUNDS, slowest=3.0)


@dataclass
class Partition:
    """Links between members that are broken together."""

    name: str
    peers: PeerLinks
    pairs: Sequence[tuple[str, str]]
    servers: frozenset[str] = EVERY_SERVER
    ways: Sequence[str] = (CUT, STALL)

    def break_(self, way: str) -> None:
        for each in self._links():
            (each.cut if way == CUT else each.stall)()

    def mend(self, way: str) -> None:
        """Let the members reach each other and agree on a leader: a member that was cut off makes
        them hold another election, which is part of the fault."""
        for each in self._links():
            each.heal()
        eventually(lambda: are_agreed(self.peers.members))

    def _links(self) -> list[Proxy]:
        return [link for pair in self.pairs for link in self.peers.between(*pair)]


def _partitions(peers: PeerLinks) -> Iterator[Partition]:
    """Yield partitions of members: two that do not reach each other, and one that reaches none."""
    names = [each.name for each in peers.members]
    pairs = list(combinations(names, 2))
    for pair in pairs:
        yield Partition(f"link between {' and '.join(pair)}", peers, [pair])
    for name in names:
        own = [pair for pair in pairs if name in pair]
        yield Partition(f"all links from {name} to its peers", peers, own)


def _start(servers: Sequence[EtcdServer]) -> None:
    """Start servers in parallel."""
    for each in servers:
        each.start()
    for each in servers:
        each.wait()


def _config(file: Path, endpoints: Sequence[str], ttl: str) -> Path:
    listed = ", ".join(f'"{each}"' for each in endpoints)
    file.write_text(
        f'store "etcd" {{\n  endpoints = [{listed}]\n}}\nserver {{\n  heartbeat_ttl = "{ttl}"\n}}\n'
    )
    return file
