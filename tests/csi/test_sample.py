"""The sample driver as people run it, and the commands that it accepts."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from plugin_types.csi import plugind_commands
from plugin_types.csi.behaviour import COMMANDS, Behaviour
from plugin_types.csi.control import send
from plugind.errors import BadRequest, PlugindError
from tests.csi.drivers import command, sample
from tests.csi.test_sockets import make_socket
from tests.promises import COMMAND_MAXIMUM, PATIENCE

START = Behaviour("sample", "1", "vm1")
IGNORING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_good_order(folder: Path, number: signal.Signals) -> None:
    with sample(folder / "deeper/disks.sock", "--hang") as driver:
        driver.send_signal(number)
        assert driver.wait(PATIENCE) == 0
    assert list((folder / "deeper").iterdir()) == []


def test_a_signal_that_was_ignored_when_it_started_ends_it(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", IGNORING, *command(folder / "disks.sock")],
        stdout=subprocess.PIPE,
        text=True,
    ) as driver:
        try:
            assert driver.stdout is not None
            assert driver.stdout.readline()
            driver.send_signal(signal.SIGINT)
            assert driver.wait(PATIENCE) == 0
        finally:
            driver.kill()


def test_the_end_of_input_ends_it(folder: Path) -> None:
    with sample(folder / "disks.sock") as driver:
        assert driver.stdin is not None
        driver.stdin.close()
        assert driver.wait(PATIENCE) == 0


def test_a_stale_socket_is_replaced_and_a_served_one_is_not(folder: Path) -> None:
    path = make_socket(folder / "disks.sock")
    make_socket(folder / "disks.sock.control")
    with sample(path):
        second = subprocess.run(
            command(path), capture_output=True, text=True, timeout=COMMAND_MAXIMUM
        )
        assert second.returncode == 1
        assert "is served already" in second.stderr
        send(str(path), "ok")


def test_sockets_that_cannot_be_served_are_reported(folder: Path) -> None:
    (folder / "file").touch()
    for path, text in (
        (folder / "file", "is not a socket"),
        (folder / "file" / "below", "cannot serve"),
        (folder / ("x" * 100), "too long a path"),
    ):
        done = subprocess.run(
            command(path), capture_output=True, text=True, timeout=COMMAND_MAXIMUM
        )
        assert done.returncode == 1
        assert text in done.stderr
        assert "Traceback" not in done.stderr
    assert (folder / "file").exists()


def cli(*words: str) -> click.testing.Result:
    group = click.Group()
    plugind_commands(group)
    return CliRunner().invoke(group, words)


def test_a_command_changes_its_behaviour(folder: Path) -> None:
    path = folder / "disks.sock"
    with sample(path):
        assert cli("csi-tell", "--socket", str(path), "fail", "disk on fire").exit_code == 0
        with pytest.raises(BadRequest, match="no command 'burn'"):
            send(str(path), "burn")
    with pytest.raises(PlugindError, match="is it running"):
        send(str(path), "ok")


def test_help_names_every_command() -> None:
    text = cli("csi-tell", "--help").output
    assert all(line.split()[0] in text for line in COMMANDS.splitlines())
    assert "csi-tell" in cli("csi-sample", "--help").output


@pytest.mark.parametrize("option", [("--slow", "soon"), ("--topology", "zone")])
def test_bad_options_are_refused(option: tuple[str, str]) -> None:
    assert isinstance(cli("csi-sample", "--socket", "x", *option).exception, BadRequest)


@pytest.mark.parametrize(
    ("text", "attribute", "value"),
    [
        ("fail disk on fire", "failure", "disk on fire"),
        ("fail", "failure", "failed on purpose"),
        ("not-ready", "ready", False),
        ("slow 1.5s", "delay", 1.5),
        ("hang", "hang", True),
        ("lack node", "roles", {"controller"}),
        ("have node", "roles", {"controller", "node"}),
        ("topology zone=a rack=b=c", "topology", {"zone": "a", "rack": "b=c"}),
        ("topology", "topology", {}),
        ("version 2", "version", "2"),
    ],
)
def test_commands(text: str, attribute: str, value: object) -> None:
    assert getattr(START.after(f" {text}\n"), attribute) == value


def test_ok_ends_what_is_wrong_and_nothing_else() -> None:
    sick = START
    for text in ("version 2", "fail x", "not-ready", "slow 1s", "hang"):
        sick = sick.after(text)
    assert sick.after("ok") == START.after("version 2")


@given(
    st.sampled_from(["", *(line.split()[0] for line in COMMANDS.splitlines())]),
    st.text(max_size=80),
)
def test_no_command_gives_anything_but_a_behaviour_or_a_reason(verb: str, text: str) -> None:
    with contextlib.suppress(BadRequest):
        assert isinstance(START.after(f"{verb} {text}"), Behaviour)


@pytest.mark.parametrize(
    "text", ["", "burn", "slow soon", "slow -1s", "slow 2h", "lack both", "topology a"]
)
def test_bad_commands_are_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        START.after(text)
