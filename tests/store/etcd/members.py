"""Real members of etcd on free ports, which tests can pause and kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc

from plugind.store.etcd.rpc_pb2 import StatusRequest
from plugind.store.etcd.rpc_pb2_grpc import MaintenanceStub
from tests.ports import reserved_port
from tests.processes import stopped
from tests.promises import COMMAND_MAXIMUM, PATIENCE, eventually
from tests.support import needs

_IN_MEMORY = Path("/dev/shm")

Front = Callable[[str, int, Sequence[str]], str]


class Member:
    """One process of etcd. ``address`` is HOST:PORT for clients, ``peer`` the URL at which the
    other members find it."""

    def __init__(self, name: str, client: int, peer: int, folder: Path) -> None:
        self.name = name
        self.address = f"127.0.0.1:{client}"
        self.peer = f"http://127.0.0.1:{peer}"
        self.folder = folder
        self.arguments: Sequence[str] = ()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return the ID of the process, 0 if none is running."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start the process; after a kill it has the data that it had before."""
        with (self.folder.parent / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["etcd", *self.arguments],
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], **_mark()},
            )

    def signal(self, number: int) -> None:
        """Send a signal: SIGSTOP pauses it, SIGCONT ends the pause."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the process, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def wipe(self) -> None:
        """Kill the process, and remove all of its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ended(self) -> bool:
        """Return whether the process ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def wait(self, channel: grpc.Channel | None = None) -> None:
        """Wait until the member knows a leader."""
        with ExitStack() as until_end:
            if channel is None:
                channel = grpc.insecure_channel(self.address)
                until_end.callback(channel.close)
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    if MaintenanceStub(channel).Status(StatusRequest(), timeout=1).leader:
                        return
                except grpc.RpcError:
                    pass
                assert time.monotonic() < deadline, self.log()
                time.sleep(0.05)

    def log(self) -> str:
        return (self.folder.parent / f"{self.name}.log").read_text()[-2_000:]


def are_agreed(found: Sequence[Member]) -> bool:
    """Return whether the members agree on a leader in the same term."""
    known = set()
    for each in found:
        with grpc.insecure_channel(each.address) as channel:
            try:
                status = MaintenanceStub(channel).Status(StatusRequest(), timeout=1)
            except grpc.RpcError:
                return False
        known.add((status.leader, status.header.raft_term))
    return len(known) == 1 and 0 not in known.pop()


def _mark() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key == "SUITE_RUN"}


@contextmanager
def members(
    number: int = 1,
    *arguments: str,
    scheme: str = "http",
    is_ready: bool = True,
    front: Front | None = None,
) -> Iterator[list[Member]]:
    """Run a number of members of one etcd while the block lasts, with additional arguments. Given
    the name and port of a member and the names of the others, ``front`` returns the address at
    which the others find that member."""
    needs("/usr/bin/etcd", "etcd-server")
    folder = Path(
        tempfile.mkdtemp(prefix="plugind-etcd-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None)
    )
    with ExitStack() as until_end:
        until_end.callback(shutil.rmtree, folder, ignore_errors=True)
        found = [
            Member(
                f"m{each}",
                until_end.enter_context(reserved_port()),
                until_end.enter_context(reserved_port()),
                folder / f"m{each}",
            )
            for each in range(number)
        ]
        listening = {each.name: each.peer for each in found}
        for each in found if front else ():
            others = [one.name for one in found if one is not each]
            each.peer = f"http://{front(each.name, int(each.peer.rpartition(':')[2]), others)}"
        cluster = ",".join(f"{each.name}={each.peer}" for each in found)
        for each in found:
            url = f"{scheme}://{each.address}"
            each.arguments = (
                *("--name", each.name, "--data-dir", str(each.folder)),
                *("--listen-client-urls", url, "--advertise-client-urls", url),
                *("--listen-peer-urls", listening[each.name]),
                *("--initial-advertise-peer-urls", each.peer),
                *("--initial-cluster", cluster, "--heartbeat-interval", "100"),
                *("--election-timeout", "500", *arguments),
            )
            until_end.callback(each.kill)
            each.start()
        if is_ready:
            for each in found:
                each.wait()
        yield found


def etcdctl(member: Member, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command of etcd's own client on a member; with ``check``, raise if it fails."""
    needs("/usr/bin/etcdctl", "etcd-client")
    return subprocess.run(
        ["etcdctl", "--endpoints", member.address, *words],
        check=check,
        capture_output=True,
        text=True,
        timeout=COMMAND_MAXIMUM,
        env={"ETCDCTL_API": "3", "PATH": "/usr/bin"},
    )


@contextmanager
def paused(member: Member) -> Iterator[None]:
    """Pause a member while the block lasts."""
    member.signal(signal.SIGSTOP)
    try:
        eventually(lambda: stopped(member.pid))
        yield
    finally:
        member.signal(signal.SIGCONT)
