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
    """Return the only check of a prober."""
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
def test_results_of_a_real_check(status: str, expected: tuple[bool, str, str]) -> None:
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
    """End a check without an answer at the probe's timeout, which is shorter than its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        command = real("check_tcp", "-H", "127.0.0.1", "-p", port, "-e", "hello", "-t", "60")
        words = "it did not end within 300ms and was killed"
        assert probe(command, probe_timeout="300ms") == (False, words, "UNKNOWN")


def test_a_check_that_is_not_there() -> None:
    words = "cannot start /none/check: no such file or directory"
    assert probe(["/none/check"]) == (False, words, "UNKNOWN")


def test_arguments_are_not_read_by_a_shell() -> None:
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


SAME_NEWS = [
    (
        "NTP OK: Offset 0.000166 secs|offset=0.000166s;60;120;",
        "NTP OK: Offset -0.000225 secs|offset=-0.000225s;60;120;",
    ),
    ("OK: offset +3 ms", "OK: offset \u22122 ms"),
    ("OK: ratio 1.5e-05 (+2E3)", "OK: ratio 7 (.5)"),
    ("OK: 1,234,567 B", "OK: 12 B"),
    ("OK: 1 234 567 B", "OK: 12 B"),
    ("OK: 1\u202f234 B, 1'234 B, 1_234 B", "OK: 1 B, 2 B, 3 B"),
    ("OK: nan ms | a=nan b=nans c=U", "OK: 12 ms | a=1.5 b=-2s c=7"),
    ("OK: -NaN and inf", "OK: 1 and -Infinity"),
    ("OK: up 12:30:59, version v1.2", "OK: up 9:00, version v1.10"),
]
OTHER_NEWS = [
    ("OK: disk", "OK: disks"),
    ("OK: 5 MB", "OK: 5 GB"),
    ("OK: nano", "OK: 1o"),
    ("OK: info", "OK: 1o"),
    ("OK: 3 left", "OK: 3 - left"),
    ("OK | a=U", "OK | a=User"),
    ("OK: web-a", "OK: web-b"),
]


@pytest.mark.parametrize(
    ("before", "after", "is_news"),
    [*((*pair, False) for pair in SAME_NEWS), *((*pair, True) for pair in OTHER_NEWS)],
)
def test_which_output_is_news(
    script: Script, tmp_path: Path, before: str, after: str, is_news: bool
) -> None:
    said = tmp_path / "said"
    one = runner([script("check", f"cat {said}")])
    said.write_text(before)
    first = one.probe()
    said.write_text(after)
    assert (one.probe() != first) == is_news


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
    with pytest.raises(ProbeFailed, match="line 1 of its output is not JSON"):
        runner([script("check", "echo {")], format="json").probe()


def test_the_worst_status_of_all_nodes_counts() -> None:
    def summary(*given: tuple[bool, str]) -> str:
        prints = [Fingerprint(healthy, "", 0, "", {"Status": said}) for healthy, said in given]
        return str(ExecType().summary({"check": prints})["Status"])

    assert summary() == ""
    assert summary((True, "OK"), (True, "WARNING")) == "WARNING"
    assert summary((False, "CRITICAL"), (False, "UNKNOWN")) == "CRITICAL"
    assert summary((True, "WARNING"), (False, "OK")) == "UNKNOWN", "its node is down"
