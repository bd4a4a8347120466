"""Signals from the first moment on, and the settings that a reload reports as needing a restart."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from plugind.cli.running import started_with
from plugind.config.restart import changed, fixed
from plugind.config.schemas import CoreSchema
from plugind.config.settings import Settings, StoreSettings
from plugind.config.shape import known_fields
from tests.processes import Machine, machine
from tests.promises import COMMAND_MAXIMUM, PATIENCE
from tests.support import eventually
from tests.test_cli import plugind

CONFIG = 'data_dir = "data"\nports {{ http = 0 }}\nserver {{\n  enabled = true\n{}}}\n{}'


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def blocked(pid: int) -> bool:
    """Return whether SIGHUP is blocked in a process (proc(5), status: SigBlk)."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^SigBlk:\s*(\w+)$", status, re.MULTILINE)
    return bool(found and int(found[1], 16) & 1 << signal.SIGHUP - 1)


def test_a_sighup_that_comes_early_is_a_reload_once_it_runs(here: Machine) -> None:
    file = here.folder / "server.hcl"
    file.write_text(CONFIG.format("", ""))
    process = here.start("agent", "--config", file)
    eventually(lambda: blocked(process.pid), every=0.001)
    for _ in range(3):
        process.send(signal.SIGHUP)
    assert "event=serving" not in process.logged, "else it did not come early"
    eventually(lambda: "event=reloaded" in process.logged)
    serving, reloaded = (process.logged.index(f"event={each}") for each in ("serving", "reloaded"))
    assert serving < reloaded
    assert not blocked(process.pid)
    assert process.stop() == 0
    assert process.logged.count("event=reloaded") == 1


def test_probers_do_not_inherit_a_blocked_signal(here: Machine) -> None:
    agent = here.agent("vm", "http://127.0.0.1:1")
    (prober,) = eventually(lambda: agent.children)
    eventually(lambda: not blocked(prober))  # blocked until the program is executed
    assert agent.stop() == 0


def printed(code: str) -> list[str]:
    """Return the words that a separate process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=COMMAND_MAXIMUM
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_signals_that_come_while_one_is_worked_on_count_as_one() -> None:
    code = (
        "import os, signal\n"
        "from plugind.cli.signals import Signals\n"
        "signals = Signals()\n"
        "def send(*numbers):\n"
        "    for number in numbers:\n"
        "        os.kill(os.getpid(), number)\n"
        "send(*[signal.SIGHUP] * 5)\n"
        "print(int(signals.wait()))\n"
        "send(signal.SIGHUP, signal.SIGTERM, signal.SIGHUP)\n"
        "print(int(signals.wait()))\n"
        "send(signal.SIGHUP)\n"
        "print(int(signals.wait()))\n"
    )
    assert printed(code) == ["1", "15", "15"], "the process is to end from then on"


def test_a_signal_to_stop_is_not_lost_behind_many_others() -> None:
    code = (
        "import os, signal\n"
        "from plugind.cli.signals import Signals\n"
        "signals = Signals()\n"
        "for number in [signal.SIGHUP] * 1000 + [signal.SIGTERM]:\n"
        "    os.kill(os.getpid(), number)\n"
        "print(int(signals.wait()))\n"
    )
    assert printed(code) == ["15"]


def test_a_rest_ends_for_a_signal_to_stop_and_for_no_other() -> None:
    code = (
        "import os, signal, threading, time\n"
        "from plugind.cli.signals import Signals\n"
        "signals = Signals()\n"
        "began = time.monotonic()\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "signals.rest(0.3)\n"
        "print(time.monotonic() - began >= 0.3, int(signals.wait()))\n"
        "threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "signals.rest(10_000)\n"
        "print(int(signals.wait()))\n"
    )
    assert printed(code) == ["True", "1", "15"]


def test_a_process_that_hangs_once_it_has_taken_the_signal_ends_after_its_grace() -> None:
    """Check that the grace period begins though the main thread, which takes the signal, is
    waiting."""
    code = (
        "import os, signal, threading\n"
        "from plugind.cli.signals import Signals\n"
        "def hang():\n"
        "    signals = Signals(grace=0.01)\n"
        "    threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "    signals.wait()\n"
        "    signal.alarm(20)\n"  # ends it by a signal, which is another status
        "    threading.Event().wait()\n"
        "children = [os.fork() or hang() for _ in range(20)]\n"
        "print({os.waitpid(child, 0)[1] for child in children})\n"
    )
    assert printed(code)[-1:] == [str({1 << 8})]


def test_before_that_exit_a_last_call_is_made() -> None:
    code = (
        "import os, signal, threading\n"
        "from plugind.cli.signals import Signals\n"
        "signals = Signals(grace=0.01)\n"
        "signals.last = lambda: print('last', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "threading.Event().wait()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=COMMAND_MAXIMUM
    )
    assert done.returncode == 1
    assert done.stdout.startswith("last\n"), done.stdout


def test_a_reload_names_what_needs_a_restart(here: Machine) -> None:
    file = here.folder / "server.hcl"
    file.write_text(CONFIG.format("", ""))
    process = here.start("agent", "--config", file)
    eventually(lambda: started_with(here.folder / "data", "server"))
    eventually(lambda: "event=serving" in process.logged)
    file.write_text(
        CONFIG.format('  heartbeat_ttl = "60s"\n', 'region = "eu"\n')
        + 'plugin "csi" "ebs0" { nodes_expected = 1 }\n'
    )
    done = plugind("reload", "--config", str(file))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == [
        f"Changed, but in force only after a restart: region ({file}:7:1)",
        f"Changed, but in force only after a restart: server.heartbeat_ttl ({file}:5:3)",
    ]
    eventually(lambda: "event=reloaded" in process.logged)
    warnings = [
        dict(re.findall(r"(setting|place)=(\S+)", line))
        for line in process.logged.splitlines()
        if "needs a restart" in line
    ]
    assert warnings == [
        {"setting": "region", "place": f"{file}:7:1"},
        {"setting": "server.heartbeat_ttl", "place": f"{file}:5:3"},
    ]
    file.write_text(CONFIG.format("", ""))
    done = plugind("reload", "--config", str(file))
    assert len(done.stdout.splitlines()) == 1, "it is as it was started again"
    assert process.stop() == 0


def test_a_reload_that_would_switch_acls_is_not_sent(here: Machine) -> None:
    file = here.folder / "server.hcl"
    file.write_text(CONFIG.format("", ""))
    (here.folder / "tokens").write_text("")
    process = here.start("agent", "--config", file)
    eventually(lambda: started_with(here.folder / "data", "server"))
    file.write_text(CONFIG.format("", 'acl {\n  enabled = true\n  tokens = "tokens"\n}\n'))
    done = plugind("reload", "--config", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{file}:7:3: acl.enabled is read at start only: restart the server" in done.stderr
    process.send(signal.SIGTERM)
    assert process.popen.wait(PATIENCE) == 0
    assert "mistake" not in process.logged


RELOADED = {
    "acl.policies",
    "acl.tokens",
    "client.leave_on_terminate",
}
"""The settings that a reload applies in each role; an agent also reloads ``plugin_types``."""


@pytest.mark.parametrize("roles", ["server", "client", "server client"])
def test_every_setting_is_either_reloaded_or_named(roles: str) -> None:
    """List the settings that are reloaded, so that a new setting needs a decision."""
    before = Settings()
    for role in roles.split():
        before = _set(before, (role, "enabled"), True)
    reloaded = RELOADED | (
        {"plugin_types.enabled", "plugin_types.disabled"} if roles == "client" else set()
    )
    for name, path in _paths(before):
        after = _set(before, path, "another")
        if path[-1] == "enabled" and path[0] in ("server", "client"):
            continue  # another role is another process
        wanted = set() if name in reloaded else {name}
        assert {each for each, _ in changed(fixed(before), after)} == wanted
    assert changed(fixed(before), replace(before, store=StoreSettings("etcd"))) == [
        ("store", "configuration")
    ]
    assert changed({}, replace(before, region="eu")) == [], "started by one that kept no record"


def _paths(settings: Settings) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name in known_fields(CoreSchema()):
        value = getattr(settings, name)
        if is_dataclass(value):
            yield from ((f"{name}.{each.name}", (name, each.name)) for each in fields(value))
        else:
            yield name, (name,)


def _set(settings: Any, path: tuple[str, ...], value: Any) -> Any:
    name, *rest = path
    inner = _set(getattr(settings, name), tuple(rest), value) if rest else value
    return replace(settings, **{name: inner})


SLOW = "".join(f'plugin "csi" "p{number}" {{ nodes_expected = 1 }}\n' for number in range(2_000))
"""A configuration that takes a second or more to read."""


def test_an_end_comes_before_reloads_that_wait(here: Machine) -> None:
    """Finish only the reload in progress before the end, however many are waiting."""
    file = here.folder / "server.hcl"
    file.write_text(CONFIG.format("", SLOW))
    process = here.start("agent", "--config", file)
    eventually(lambda: "event=serving" in process.logged)
    started = time.monotonic()
    process.send(signal.SIGHUP)
    eventually(lambda: "event=reloaded" in process.logged)
    one_reload = time.monotonic() - started
    for _ in range(10):
        process.send(signal.SIGHUP)
        time.sleep(one_reload / 40)  # ten signals, all during the first reload
    process.send(signal.SIGTERM)
    done = process.logged.count("event=reloaded")
    assert process.popen.wait(PATIENCE) == 0
    assert process.logged.count("event=reloaded") <= done + 1
