"""Reading Nomad's folders, mounts and variables, from real processes and from hostile text."""

# A row of a table reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_types.csi.nomad import Layout, Task, described, layout_of, mounted, mounts_of, task_of
from plugind.toolbox import processes
from plugind.toolbox.mounts import mount_roots, roots_in
from plugind.wire.fields import ID_PATTERN

ALLOC = "94f62a35-eb38-46a9-2c2b-71b3313fe12f"
OTHER = "bea04984-e834-4c36-b6f2-0c17eb350131"
BOTH = frozenset({"controller", "node"})

LINE = "36 35 98:0 {} /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"


@pytest.mark.parametrize(
    ("path", "layout"),
    [
        ("/x/csi/controller/ebs0/csi.sock", Layout("ebs0", frozenset({"controller"}))),
        ("/x/csi/node/a b/csi.sock", Layout("a b", frozenset({"node"}))),
        ("/csi/monolith/nfs/csi.sock", Layout("nfs", BOTH)),
        (f"/v/csi/plugins/{ALLOC}/csi.sock", Layout(alloc_id=ALLOC, root="/v/csi")),
        ("/v/csi/plugins/ebs0/csi.sock", None),
        ("/run/csi/ebs0/csi.sock", None),
        ("/x/csi/controller/ebs0/other.sock", None),
    ],
)
def test_layouts(path: str, layout: Layout | None) -> None:
    assert layout_of(path) == layout


@pytest.mark.parametrize(
    ("roots", "expected"),
    [
        ([f"/n/csi/plugins/{ALLOC}", "/n/csi/node/ebs0"], ("ebs0", {"node"})),
        # On a file system of its own the folder csi is the root's own.
        ([f"/csi/plugins/{ALLOC}", "/csi/controller/ebs0"], ("ebs0", {"controller"})),
        ([f"/csi/plugins/{ALLOC}", "/csi/monolith/ebs0"], ("ebs0", BOTH)),
        ([f"/csi/plugins/{ALLOC}", "/csi/node/a", "/csi/controller/a"], ("a", BOTH)),
        # Volumes that are mounted below a plugin's folder are no plugins.
        ([f"/csi/plugins/{ALLOC}", "/csi/node/a", "/csi/node/b/staging/v"], ("a", {"node"})),
        ([f"/csi/plugins/{ALLOC}"], None),
        (["/csi/node/a"], None),
        ([f"/csi/plugins/{OTHER}", "/csi/node/a"], None),
        ([f"/csi/plugins/{ALLOC}", "/csi/node/a", "/csi/node/b"], None),
        ([f"/csi/plugins/{ALLOC}", "/csi/node/.."], None),
        ([], None),
    ],
)
def test_mounts(roots: list[str], expected: tuple[str, set[str]] | None) -> None:
    found = mounted(roots, ALLOC)
    assert (found and (found[0], set(found[1]))) == (expected and (expected[0], set(expected[1])))


@given(st.text() | st.lists(st.text(max_size=30).map(LINE.format)).map("\n".join))
def test_any_text_as_a_mountinfo(text: str) -> None:
    roots = roots_in(text)
    assert len(roots) <= text.count("\n") + 1
    assert all(root.startswith("/") for root in roots)
    found = mounted(roots, ALLOC)
    assert found is None or (ID_PATTERN.fullmatch(found[0]) and found[1] <= BOTH)


@given(st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1))
def test_a_root_is_what_the_kernel_escaped(name: str) -> None:
    escaped = "".join(f"\\{ord(each):03o}" if each in " \t\n\\" else each for each in name)
    assert roots_in(f"x\n{LINE.format(f'/{escaped}')}\n") == (f"/{name}",)
    assert roots_in(LINE.format(f"/{escaped}//deleted")) == (f"/{name}",)


@contextmanager
def running(
    environ: Mapping[str, str] | None = None, mounts: Mapping[Path, Path] | None = None
) -> Iterator[int]:
    """Run a process with those variables and bind mounts; yield its ID."""
    waiting = [sys.executable, "-c", "print(flush=True); input()"]
    script = " && ".join(
        [*(f"mount --bind '{source}' '{place}'" for source, place in (mounts or {}).items()),
         'exec "$@"']
    )  # fmt: skip
    command = ["unshare", "-m", "sh", "-c", script, "sh", *waiting] if mounts else waiting
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate(b"\n")


def test_the_mounts_of_a_process(tmp_path: Path) -> None:
    csi = tmp_path / "a folder\twith blanks" / "csi"
    folders = [csi / "plugins" / ALLOC, csi / "node" / "ebs0"]
    places = [tmp_path / "csi", tmp_path / "staging"]
    for folder in folders + places:
        folder.mkdir(parents=True)
    with running(mounts=dict(zip(folders, places, strict=True))) as pid:
        assert mounts_of(pid, ALLOC) == ("ebs0", {"node"})
        assert mounts_of(pid, OTHER) is None
        folders[1].rmdir()
        assert mounts_of(pid, ALLOC) == ("ebs0", {"node"}), "the kernel calls the root deleted"
    assert mounts_of(os.getpid(), ALLOC) is None
    assert mount_roots(2**22 + 1) == ()


def test_the_variables_of_a_process() -> None:
    environ = {
        "NOMAD_ALLOC_ID": ALLOC,
        "NOMAD_ALLOC_NAME": "job.group[0]",
        "NOMAD_JOB_ID": "job",
        "NOMAD_GROUP_NAME": "group",
        "NOMAD_TASK_NAME": "task",
        "NOMAD_META": "x",
    }
    known = Task(ALLOC, "job.group[0]", "job", "group", "task")
    with running(environ) as pid:
        assert task_of(pid, Layout()) == task_of(pid, Layout(alloc_id=ALLOC)) == known
        assert task_of(pid, Layout(alloc_id=OTHER)) == Task(alloc_id=OTHER)
    assert task_of(2**22 + 1, Layout()) == Task()
    with running({**environ, "NOMAD_ALLOC_ID": "../x"}) as pid:
        assert task_of(pid, Layout()) == Task()


def test_hostile_variables_are_bounded_and_plain() -> None:
    hostile = {"NOMAD_ALLOC_ID": ALLOC, "NOMAD_JOB_ID": "\x1b[31mred\n\u202e" + "x" * 100_000}
    with running(hostile) as pid:
        job = task_of(pid, Layout()).job
        process = processes.of_pid(pid)
    assert job.startswith("[31mred x")
    assert len(job) <= processes.NAME_MAXIMUM
    assert job.isprintable()
    assert process is not None
    description = described(process, Task(ALLOC, job=job))
    assert processes.is_description(description)
    assert (description["AllocID"], description["JobID"], description["TaskGroup"]) == (
        ALLOC,
        job,
        process["TaskGroup"],
    )


def test_only_a_uuid_is_an_allocation() -> None:
    good = processes.of_pid(os.getpid())
    assert good is not None
    assert processes.is_description({**good, "AllocID": ALLOC})
    for bad in ("", "x", 1, ALLOC.upper()):
        assert not processes.is_description({**good, "AllocID": bad})


@pytest.mark.parametrize(
    ("arguments", "script"),
    [
        (["/usr/bin/node", "--max-old-space-size=4", "/app/bin/democratic-csi", "-v"], "democratic-csi"),
        (["node", "-r", "dotenv/config", "server.js"], "server.js"),
        (["python3.11", "-W", "ignore", "-u", "/srv/driver.py"], "driver.py"),
        (["python3", "-m", "my.driver", "x"], "my.driver"),
        (["java", "-Xmx1g", "-cp", "a.jar", "org.example.Driver"], "org.example.Driver"),
        (["java", "-jar", "/opt/csi.jar"], "csi.jar"),
        (["/bin/sh", "/entry\x1b[1m.sh"], "entry [1m.sh"),
        (["bash", "-c", "sleep 1"], ""),
        (["ruby", "-e", "1"], ""),
        (["/usr/bin/nfsplugin", "-v", "x"], ""),
        (["node"], ""),
        ([], ""),
    ],
)  # fmt: skip
def test_an_interpreted_driver_is_its_script(arguments: list[str], script: str) -> None:
    assert processes.script_of(arguments) == script


@given(st.lists(st.text()))
def test_any_arguments(arguments: list[str]) -> None:
    script = processes.script_of(["python3", *arguments])
    assert script.isprintable() or script == ""
    assert len(script) <= processes.NAME_MAXIMUM


def test_the_job_of_a_script() -> None:
    with tempfile.NamedTemporaryFile("w", suffix="-driver.py") as file:
        file.write("print(flush=True); input()")
        file.flush()
        pipe = subprocess.PIPE
        with subprocess.Popen([sys.executable, file.name], stdin=pipe, stdout=pipe) as process:
            assert process.stdout is not None
            process.stdout.readline()
            found = processes.of_pid(process.pid)
            assert found is not None
            assert processes.runs(found["Key"])
            process.communicate(b"\n")
    name = Path(file.name).name
    owner = processes.owner_of(Path("/proc/self/cgroup").read_text())
    assert found["JobID"] == (owner or name)
    assert not processes.runs(found["Key"])
    for key in ("", "a/b/c", "a/1/2/3", "x/99999999999/1"):
        assert not processes.runs(key)
