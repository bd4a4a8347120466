"""The processes that listen on sockets, and the units and containers that they belong to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugind.model.times import SECOND
from plugind.toolbox import processes
from plugind.toolbox.processes import NAME_MAXIMUM, behind_socket, is_description, of_pid, owner_of
from tests.support import eventually

ID = "0123456789abcdef" * 4
SHORT = ID[:12]

OWNERS: Mapping[str, str] = {
    # cgroups v2, and what systemd makes there
    "0::/system.slice/csi-nfs.service": "csi-nfs.service",
    "0::/system.slice/csi-nfs.service (deleted)": "csi-nfs.service",
    "0::/system.slice/system-csi.slice/csi@ebs0.service/inner": "csi@ebs0.service",
    "0::/system.slice/csi\\x2dnfs.service": "csi\\x2dnfs.service",
    "0::/user.slice/user-0.slice/user@0.service/app.slice/nfs.service": "nfs.service",
    "0::/user.slice/user-0.slice/user@0.service/init.scope": "user@0.service",
    "0::/user.slice/user-0.slice/session-3.scope": "",
    "0::/init.scope": "",
    "0::/": "",
    # containers
    f"0::/system.slice/docker-{ID}.scope": SHORT,
    f"0::/docker/{ID}": SHORT,
    f"0::/machine.slice/libpod-{ID}.scope/container": SHORT,
    f"0::/libpod_parent/libpod-{ID}": SHORT,
    f"0::/kubepods.slice/kubepods-burstable.slice/pod1.slice/cri-containerd-{ID}.scope": SHORT,
    f"0::/kubepods.slice/pod1.slice/crio-{ID}.scope": SHORT,
    f"0::/kubepods/besteffort/pod1/{ID}": SHORT,
    f"0::/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}": SHORT,
    f"0::/../../{ID}": SHORT,
    "0::/lxc/web/init": "web",
    "0::/lxc.payload.web/system": "web",
    "0::/machine.slice/machine-web.scope/payload": "web",
    # of both: the service that starts it
    f"0::/system.slice/nfs.service/libpod-payload-{ID}": "nfs.service",
    "0::/system.slice/docker.service": "docker.service",
    f"0::/docker/{ID}/system.slice/nfs.service": "nfs.service",
    # v1, where each controller has a hierarchy, and systemd one of its own
    "4:memory:/x\n1:name=systemd:/system.slice/csi.service\n0::/": "csi.service",
    "3:cpu,cpuacct:/a\n1:name=systemd:/system.slice/csi.service": "csi.service",
    f"12:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}": SHORT,
    f"5:devices:/kubepods/burstable/pod1/{ID}\n2:cpu:/": SHORT,
    "4:memory:/process_api/b8ffdccd85ebb5bc052f7e8663d079cf\n1:name=systemd:/": "",
    # no such file
    "": "",
    "nonsense\n:\n::\n": "",
}

CHILD = """
import os, signal, socket, sys, time
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen(8)
if sys.argv[2] == "fork" and os.fork() > 0:
    os._exit(0)
print(os.getpid(), flush=True)
while True:
    time.sleep(60)
"""


@pytest.mark.parametrize("cgroups", OWNERS, ids=lambda text: text[-40:].replace("\n", " "))
def test_the_unit_or_container_of_a_process(cgroups: str) -> None:
    assert owner_of(f"{cgroups}\n") == OWNERS[cgroups]


parts = st.one_of(
    st.sampled_from(
        ["", "..", "lxc", "docker", "x.service", "user@1.service", f"docker-{ID}.scope"]
    ),
    st.text(st.characters(exclude_characters="/\n"), max_size=12),
)
lines = st.builds(
    lambda kind, path: f"1:{kind}:/{'/'.join(path)}",
    st.sampled_from(["", "name=systemd", "memory"]),
    st.lists(parts, max_size=4),
)


@given(st.one_of(st.text(), st.lists(lines).map("\n".join)))
def test_any_text_of_cgroups(cgroups: str) -> None:
    owner = owner_of(cgroups)
    assert len(owner) <= NAME_MAXIMUM
    assert owner == " ".join(owner.split())
    owner.encode()


@given(st.lists(lines), st.text(st.characters(exclude_characters="/\n:"), min_size=1))
def test_systemds_own_hierarchy_counts_most(others: list[str], name: str) -> None:
    others = [line for line in others if ":memory:" in line]
    text = "\n".join([*others, "1:name=systemd:/system.slice/csi.service"])
    assert owner_of(text) == "csi.service"


@pytest.fixture
def path() -> Iterator[Path]:
    """Yield a path that is short enough for a socket."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "s.sock"


@contextmanager
def listening(path: Path, how: str = "") -> Iterator[int]:
    """Start a process that listens on the socket and never answers; yield its ID."""
    command = [sys.executable, "-c", CHILD, str(path), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        pid = int(child.stdout.readline())
        try:
            yield pid
        finally:
            os.kill(pid, signal.SIGKILL)
            child.wait()


def test_the_process_behind_a_socket(path: Path) -> None:
    started = time.time()
    with listening(path) as pid:
        found = behind_socket(str(path))
        assert found is not None
        assert found == of_pid(pid) == behind_socket(str(path))
        assert is_description(found)
        assert found["TaskGroup"] in Path(f"/proc/{pid}/comm").read_text()
        assert found["Name"].endswith(f"{found['TaskGroup']}[{pid}]")
        assert found["Name"].startswith(found["JobID"])
        assert abs(found["CreateTime"] / SECOND - started) < 10
    with listening(path.with_name("other.sock")):
        other = behind_socket(str(path.with_name("other.sock")))
    assert other is not None
    assert other["Key"] != found["Key"]


def test_a_stopped_one_is_found_as_well(path: Path) -> None:
    with listening(path) as pid:
        os.kill(pid, signal.SIGSTOP)
        assert behind_socket(str(path)) == of_pid(pid) is not None


def test_sockets_without_a_process(path: Path) -> None:
    assert behind_socket(str(path)) is None
    with listening(path):
        pass
    assert path.exists()
    assert behind_socket(str(path)) is None
    assert behind_socket(str(path) + "x" * 200) is None
    assert behind_socket("/dev/null") is None
    assert behind_socket("a\0b") is None


def test_the_one_that_listened_has_ended_and_its_child_answers(path: Path) -> None:
    with listening(path, "fork") as child:
        eventually(lambda: behind_socket(str(path)) is None)  # its parent is about to end
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        assert of_pid(child) is not None


def test_an_id_that_was_used_again_is_another_process(path: Path) -> None:
    with listening(path):
        assert behind_socket(str(path)) is not None
        os.utime(path, (0, 1_000_000))  # the socket is older than the process
        assert behind_socket(str(path)) is None


@pytest.mark.parametrize("pid", [-1, 0, 1, 2**31 - 1])
def test_pids_that_count_as_none(pid: int) -> None:
    """Ignore PIDs 0 (another PID namespace) and 1 (systemd, which created the activated socket)."""
    assert of_pid(pid) is None


def test_a_process_that_has_ended_and_was_not_reaped(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        stat = Path(f"/proc/{child.pid}/stat")
        eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z")
        assert of_pid(child.pid) is None


def test_a_name_that_is_no_text(path: Path) -> None:
    rename = r"open('/proc/self/comm', 'wb').write(b'\xff\ta b')"
    command = [sys.executable, "-c", f"{rename}; print(flush=True); input()"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = of_pid(child.pid)
        child.communicate(b"\n")
    assert found is not None
    assert found["TaskGroup"].endswith("a b")
    found["Name"].encode()


@pytest.mark.parametrize(
    "value",
    [None, {}, [], "x", {"Key": "x"}],
    ids=str,
)
def test_invalid_descriptions(value: Any) -> None:
    assert not is_description(value)


def test_a_description_with_a_mistake_is_none() -> None:
    good = of_pid(os.getpid())
    assert is_description(good)
    assert good is not None
    for key, bad in [("Key", 1), ("CreateTime", "x"), ("CreateTime", True), ("CreateTime", -1)]:
        assert not is_description({**good, key: bad})
    assert not is_description({**good, "More": ""})
    assert processes.is_description(dict(good))
