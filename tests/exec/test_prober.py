"""Probing with real checks: Debian's monitoring-plugins-basic, and scripts that misbehave."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from plugin_types.exec import ExecType
from plugin_types.exec.prober import ExecProber, Runner
from plugind.errors import ProbeFailed
from plugind.model import Fingerprint
from tests.exec.conftest import Script
from tests.support import needs

PLUGINS = Path("/usr/lib/nagios/plugins")


def real(name: str, *arguments: str) -> list[str]:
    needs(str(PLUGINS / name), "monitoring-plugins-basic")
    return [str(PLUGINS / name), *arguments]


def runner(command: list[str], **settings: Any) -> Runner:
    """The only check of a prober."""
    block = {"probe_timeout": "20s", **settings, "command": command}
    prober = ExecType().prober(ExecType.settings_schema().load({"check": {"it": block}}))
    assert isinstance(prober, ExecProber)
    found = prober.discover()
    assert found == prober.discover(), "a check is the same target each time"
    return found["it"]


def probe(command: list[str], **settings: Any) -> tuple[bool, str, str]:
    (found,) = runner(command, **settings).probe().values()
    return found["Healthy"], found["HealthDescription"], found["Status"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("0", (True, "OK: so it is", "OK")),
        ("1", (True, "WARNING: so it is", "WARNING")),
        ("2", (False, "CRITICAL: so it is", "CRITICAL")),
        ("3", (False, "UNKNOWN: so it is", "UNKNOWN")),
    ],
)
def test_what_a_real_check_says(status: str, expected: tuple[bool, str, str]) -> None:
    assert probe(real("check_dummy", status, "so it is")) == expected


def test_real_performance_data() -> None:
    (found,) = runner(real("check_procs", "-w", "0:0")).probe().values()
    assert found["HealthDescription"].startswith("PROCS WARNING: ")
    assert found["PerfData"].startswith("procs=")


def test_a_real_check_that_is_asked_wrongly() -> None:
    healthy, words, status = probe(real("check_disk", "--bogus"))
    assert (healthy, status) == (False, "UNKNOWN")
    assert words == "Unknown argument"


def test_a_real_check_that_hangs() -> None:
    """Nobody answers it, and its own time-out is longer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        command = real("check_tcp", "-H", "127.0.0.1", "-p", port, "-e", "hello", "-t", "60")
        words = "it did not end within 300ms and was killed"
        assert probe(command, probe_timeout="300ms") == (False, words, "UNKNOWN")


def test_a_check_that_is_not_there() -> None:
    words = "cannot start /none/check: no such file or directory"
    assert probe(["/none/check"]) == (False, words, "UNKNOWN")


def test_words_are_no_shell_s() -> None:
    assert probe(["echo", "$HOME", "; exit 2", "*"])[1] == "$HOME ; exit 2 *"


def test_numbers_alone_are_no_news(script: Script, tmp_path: Path) -> None:
    said = tmp_path / "said"
    one = runner([script("check", f"cat {said}")])
    numbers = runner([script("numbers", f"cat {said}")], report_numbers=True)
    said.write_text("OK - 17.5 MB free | free=17")
    first, _ = one.probe(), numbers.probe()
    said.write_text("OK - 3,000 MB free | free=3000")
    assert one.probe() == first
    assert "3,000" in str(numbers.probe())
    said.write_text("OK - 3 GB free | free=3000")
    assert "3 GB" in str(one.probe())


def test_a_change_of_health_is_news_whatever_the_words(script: Script, tmp_path: Path) -> None:
    status = tmp_path / "status"
    one = runner([script("check", f"echo it is; exit $(cat {status})")])
    seen = []
    for number in "0202":
        status.write_text(number)
        seen += [fingerprint["Healthy"] for fingerprint in one.probe().values()]
    assert seen == [True, False, True, False]


def test_lines_of_json(script: Script) -> None:
    body = (
        """echo '{"ID": "a", "Healthy": true, "Size": 3}'; echo '{"ID": "b", "Healthy": false}'"""
    )
    found = runner([script("check", body)], format="json").probe()
    assert [(key, one["Healthy"]) for key, one in found.items()] == [
        (("a", "check"), True),
        (("b", "check"), False),
    ]


def test_json_that_breaks(script: Script) -> None:
    with pytest.raises(ProbeFailed, match="line 1 of its output is no JSON"):
        runner([script("check", "echo {")], format="json").probe()


def test_the_worst_status_of_all_nodes_counts() -> None:
    def summary(*told: tuple[bool, str]) -> str:
        prints = [Fingerprint(healthy, "", 0, "", {"Status": said}) for healthy, said in told]
        return str(ExecType().summary({"check": prints})["Status"])

    assert summary() == ""
    assert summary((True, "OK"), (True, "WARNING")) == "WARNING"
    assert summary((False, "CRITICAL"), (False, "UNKNOWN")) == "CRITICAL"
    assert summary((True, "WARNING"), (False, "OK")) == "UNKNOWN", "its node is silent"
