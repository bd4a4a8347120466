"""A prober's process under its supervisor: real processes, told what to do by files."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from plugind.agent import supervisor
from plugind.agent.lines import LINE_MAXIMUM, Found
from plugind.agent.state import TypeState
from plugind.agent.supervisor import Splitter, resident
from tests.agent.conftest import StartSupervisor
from tests.agent.desk import until

HEALTHY = (True, "healthy")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_targets_come_change_and_go(paper: StartSupervisor) -> None:
    p = paper()
    p.order("a", "healthy node controller")
    p.order("b", "unhealthy *")
    p.supervisor.start()
    both = {"controller": HEALTHY, "node": HEALTHY}
    p.shows({"a": both, "b": {"*": (False, "unhealthy")}})
    until(lambda: p.supervisor.state.complete)
    p.order("b", "healthy node")
    p.shows({"a": both, "b": {"node": HEALTHY}})
    p.remove("b")
    p.shows({"a": both})
    until((p.folder / ".closed-b").exists)


def test_a_prober_that_does_not_find_its_targets_after_a_reload_is_told_of(
    paper: StartSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "START_MAXIMUM", 3.0)
    known = TypeState().after(Found("a", 1, {("a", "node"): {"Healthy": True}}))
    p = paper(state=known, before={"folder": "none"})
    p.order(".discover", "hang")
    p.supervisor.start()
    assert p.plugins() == {"a": {"node": (True, None)}}
    reason = "the prober of paper has not found its targets and is being restarted"
    p.shows({"a": {"node": (False, reason)}})


def test_settings_before_that_do_not_work_any_more_do_no_harm(
    paper: StartSupervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    p = paper(before={"folder": 5})
    p.order("a", "healthy node")
    p.supervisor.start()
    p.shows({"a": {"node": HEALTHY}})
    p.supervisor.stop()
    assert "what the settings before found is not known" in capfd.readouterr().err


def test_what_left_on_purpose_is_told_until_it_is_acknowledged(paper: StartSupervisor) -> None:
    p = paper()
    p.order("a", "healthy node controller")
    p.supervisor.start()
    p.shows({"a": {"controller": HEALTHY, "node": HEALTHY}})
    p.order("a", "healthy node")
    p.shows({"a": {"controller": None, "node": HEALTHY}})
    p.supervisor.acknowledged([("a", "controller")])
    assert p.plugins() == {"a": {"node": HEALTHY}}
    p.order("a", "fail")
    p.shows({"a": {"node": (False, "the paper is torn")}})
    p.order("a", "healthy node")
    p.shows({"a": {"node": HEALTHY}})


def test_bad_probes_are_unhealthy_instances(paper: StartSupervisor) -> None:
    reasons = {
        "fail": "the paper is torn",
        "error": "KeyError: 'ink'",
        "exit": "SystemExit: bye",
        "hang": "no answer within 200ms",
        "flood": "probe returned 1,001 instances; at most 1,000 are taken",
        "big": "what probe returned is too much: it takes",
        "nan": "its plugin type gave a bad fingerprint: Out of range float values",
    }
    well = {name: {"node": HEALTHY} for name in [*reasons, "neighbour"]}
    p = paper()
    for name in well:
        p.order(name, "healthy node")
    p.supervisor.start()
    p.shows(well)
    for name in reasons:
        p.order(name, name)

    def are_told() -> bool:
        shown = {name: p.plugins()[name]["node"] for name in reasons}
        return all(
            not shown[name][0] and shown[name][1].startswith(reason)
            for name, reason in reasons.items()
        )

    until(are_told, lambda: str(p.plugins()))
    assert p.plugins()["neighbour"] == {"node": HEALTHY}
    for name in reasons:
        p.order(name, "healthy node")
    p.shows(well)


def test_a_target_has_its_own_schedule(paper: StartSupervisor) -> None:
    p = paper()
    for name in ("a", "odd", "patient"):
        p.order(name, "healthy node")
    p.supervisor.start()
    p.shows({name: {"node": HEALTHY} for name in ("a", "odd", "patient")})
    for name in ("a", "odd", "patient"):
        p.order(name, "hang")
    doubt = "healthy; probes fail, but fewer than 3 in a row: no answer within 100ms"
    until(lambda: p.plugins()["patient"] == {"node": (True, doubt)})
    late = {"node": (False, "no answer within 200ms")}
    p.shows({"a": late, "odd": late, "patient": {"node": (False, "no answer within 100ms")}})
    p.order("patient", "healthy node")
    until(lambda: p.plugins()["patient"] == {"node": HEALTHY})


def test_an_answer_that_is_always_late_is_one_change(paper: StartSupervisor) -> None:
    p = paper()
    p.supervisor.start()
    until(lambda: p.supervisor.state.complete)
    p.order("a", "late")
    p.shows({"a": {"*": (False, "no answer within 200ms")}})
    changes = p.changes
    until((p.folder / ".late-a").exists)
    until(lambda: len((p.folder / ".late-a").read_text()) > 3)
    assert p.changes == changes
    p.order("a", "healthy node")
    p.shows({"a": {"node": HEALTHY}})


def test_a_failure_from_the_first_second_stands_under_the_targets_name(
    paper: StartSupervisor,
) -> None:
    p = paper()
    p.order("a", "fail")
    p.order("b", "hang")
    p.order("no id", "fail")
    p.supervisor.start()
    p.shows(
        {"a": {"*": (False, "the paper is torn")}, "b": {"*": (False, "no answer within 200ms")}}
    )
    until(lambda: p.supervisor.state.complete)


def test_times_are_those_of_changes(paper: StartSupervisor) -> None:
    p = paper()
    p.order("a", "healthy node")
    p.supervisor.start()
    p.shows({"a": {"node": HEALTHY}})
    before = p.supervisor.state
    p.order("b", "healthy node")
    p.shows({"a": {"node": HEALTHY}, "b": {"node": HEALTHY}})
    assert p.supervisor.state.targets["a"] == before.targets["a"]
    moment = time.time_ns()
    p.order("a", "unhealthy node")
    p.shows({"a": {"node": (False, "unhealthy")}, "b": {"node": HEALTHY}})
    (shown,) = p.supervisor.state.targets["a"].shown.values()
    assert moment <= shown.updated <= time.time_ns()


def test_two_targets_with_one_instance_are_told_of(paper: StartSupervisor) -> None:
    p = paper()
    p.order("a@1", "healthy node")
    p.order("a@2", "healthy node controller")
    p.supervisor.start()
    claimed = (False, "claimed by two targets: a@1 and a@2")
    p.shows({"a": {"controller": HEALTHY, "node": claimed}})
    p.remove("a@1")
    p.shows({"a": {"controller": HEALTHY, "node": HEALTHY}})


def test_changed_probes_and_looks_at_once(paper: StartSupervisor) -> None:
    p = paper(block={"probe_interval": "1h"})
    p.order("a", "healthy node")
    p.supervisor.start()
    p.shows({"a": {"node": HEALTHY}})
    p.order("a", "unhealthy node")
    p.order("b", "healthy node")
    (p.folder / ".changed").write_text("a\n\n")
    p.shows({"a": {"node": (False, "unhealthy")}, "b": {"node": HEALTHY}})


def test_a_bad_discover_does_not_stop_what_is_known(paper: StartSupervisor) -> None:
    p = paper()
    p.order("a", "healthy node")
    p.supervisor.start()
    p.shows({"a": {"node": HEALTHY}})
    for order, new in (("raise", "b"), ("hang", "c")):
        before = p.plugins()
        p.order(".discover", order)
        p.order(new, "healthy node")
        p.order("a", "unhealthy node")
        p.shows({**before, "a": {"node": (False, "unhealthy")}})
        p.remove(".discover")
        p.order("a", "healthy node")
        p.shows({**before, new: {"node": HEALTHY}})


def test_too_many_targets_are_cut(paper: StartSupervisor) -> None:
    p = paper(block={"probe_interval": "1h"})
    p.order(".discover", "many")
    p.supervisor.start()
    until(lambda: p.supervisor.state.names)
    assert len(p.supervisor.state.names or ()) == 1_000


def test_what_a_type_prints_is_no_message(
    paper: StartSupervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    p = paper()
    p.order("a", "print")
    p.supervisor.start()
    p.shows({"a": {"node": (True, None)}})
    p.supervisor.stop()
    assert "a print() of the type's" in capfd.readouterr().err


def test_a_dead_prober_is_told_of_and_restarted(paper: StartSupervisor) -> None:
    p = paper()
    p.order("a", "healthy node controller")
    p.supervisor.start()
    p.shows({"a": {"controller": HEALTHY, "node": HEALTHY}})
    p.order("a", "die")
    dead = (False, "the prober of paper ended (status 7) and is being restarted")
    p.shows({"a": {"controller": dead, "node": dead}})
    p.order("a", "healthy node")
    p.shows({"a": {"controller": None, "node": HEALTHY}})


def test_targets_that_went_while_the_prober_was_dead_are_dropped(paper: StartSupervisor) -> None:
    p = paper()
    p.order("a", "healthy node")
    p.order("b", "healthy node")
    p.supervisor.start()
    p.shows({"a": {"node": HEALTHY}, "b": {"node": HEALTHY}})
    pid = p.supervisor.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    p.remove("b")
    os.kill(pid, signal.SIGKILL)
    p.shows({"a": {"node": HEALTHY}})
    assert p.supervisor.pid != pid
    assert not is_running(pid)


def test_a_silent_prober_is_killed(paper: StartSupervisor) -> None:
    p = paper(silence=2.0)
    p.order("a", "healthy node")
    p.supervisor.start()
    p.shows({"a": {"node": HEALTHY}})
    pid = p.supervisor.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    silent = (False, "the prober of paper gave no sign of life and is being restarted")
    p.shows({"a": {"node": silent}})
    assert not is_running(pid)
    p.shows({"a": {"node": HEALTHY}})


def test_a_prober_that_takes_too_much_memory_is_restarted(paper: StartSupervisor) -> None:
    p = paper(block={"memory_limit": 128 << 20})
    p.order("a", "healthy node")
    p.order("b", "healthy node")
    p.supervisor.start()
    p.shows({"a": {"node": HEALTHY}, "b": {"node": HEALTHY}})
    pid = p.supervisor.pid
    assert pid is not None
    assert 0 < resident(pid) < 128 << 20
    p.order("a", "eat")
    reason = "the prober of paper grew past its memory limit of 128 MiB and is being restarted"
    p.shows({"a": {"node": (False, reason)}, "b": {"node": (False, reason)}})
    assert not is_running(pid)
    assert resident(pid) == 0
    p.order("a", "healthy node")
    p.shows({"a": {"node": HEALTHY}, "b": {"node": HEALTHY}})


def test_without_a_limit_it_may_take_what_it_likes(paper: StartSupervisor) -> None:
    p = paper(block={"memory_limit": 0})
    p.order("a", "eat")
    p.supervisor.start()
    p.shows({"a": {"node": (True, None)}})
    pid = p.supervisor.pid
    assert pid is not None
    assert resident(pid) > 200 << 20
    time.sleep(1.2)  # there is no event for a look that finds nothing wrong
    assert p.supervisor.pid == pid


def test_a_prober_that_was_stopped_does_not_blame_its_targets(paper: StartSupervisor) -> None:
    p = paper(block={"probe_timeout": "1s"})
    p.order("a", "healthy node")
    p.supervisor.start()
    p.shows({"a": {"node": HEALTHY}})
    pid = p.supervisor.pid
    assert pid is not None
    p.order("a", "nap")
    until((p.folder / ".napping-a").exists)
    os.kill(pid, signal.SIGSTOP)
    changes = p.changes
    time.sleep(2.5)  # longer than it takes to call a probe overdue
    os.kill(pid, signal.SIGCONT)
    p.order("b", "healthy node")
    p.shows({"a": {"node": HEALTHY}, "b": {"node": HEALTHY}})
    (p.folder / ".alarm").touch()
    p.order("a", "healthy controller")
    p.shows({"a": {"node": None, "controller": HEALTHY}, "b": {"node": HEALTHY}})
    assert p.changes == changes + 3, "b came, b was probed, a has another half"
    assert p.supervisor.pid == pid


def test_stop_ends_a_prober_that_hangs(paper: StartSupervisor) -> None:
    p = paper()
    p.order("a", "hang")
    p.supervisor.start()
    until(lambda: p.plugins())
    hanging = p.supervisor.pid
    assert hanging is not None
    started = time.monotonic()
    p.supervisor.stop()
    assert time.monotonic() - started < 2, "the end of its input is enough"
    assert not is_running(hanging)
    p.supervisor.stop()


def test_stop_kills_a_stopped_prober(paper: StartSupervisor) -> None:
    p = paper(grace=0.2)
    p.order("a", "healthy node")
    p.supervisor.start()
    p.shows({"a": {"node": HEALTHY}})
    assert p.supervisor.pid is not None
    os.kill(p.supervisor.pid, signal.SIGSTOP)
    p.supervisor.stop()
    assert not is_running(p.supervisor.pid)
    assert p.plugins() == {"a": {"node": HEALTHY}}, "an agent that ends tells nothing new"


def test_ctrl_c_is_the_agents_and_sigterm_ends(paper: StartSupervisor) -> None:
    p = paper()
    p.order("a", "healthy node")
    p.supervisor.start()
    p.shows({"a": {"node": HEALTHY}})
    pid = p.supervisor.pid
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    p.order("a", "unhealthy node")
    p.shows({"a": {"node": (False, "unhealthy")}})
    assert p.supervisor.pid == pid
    os.kill(pid, signal.SIGTERM)
    until(lambda: p.supervisor.pid != pid)


def test_a_type_without_a_prober_is_let_be(paper: StartSupervisor) -> None:
    p = paper(block={"folder": "none"})
    p.supervisor.start()
    until(lambda: p.supervisor.state.complete)
    pid = p.supervisor.pid
    assert pid is not None
    until(lambda: not is_running(pid))
    p.supervisor.stop()
    assert p.supervisor.pid == pid


def test_bad_settings_are_told_of(
    paper: StartSupervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    p = paper(block={"folder": 5, "nonsense": 1})
    p.supervisor.start()
    first = p.supervisor
    until(lambda: first.pid)
    pid = first.pid
    until(lambda: first.pid != pid)
    p.supervisor.stop()
    assert "mend the plugin_type block" in capfd.readouterr().err


def test_a_command_that_cannot_start(
    paper: StartSupervisor, log: list[Any], tmp_path: Path
) -> None:
    p = paper(command=[str(tmp_path / "nothing")])
    p.supervisor.start()
    until(lambda: str(log).count("could not be started (No such file or directory)") > 1)


def test_bad_lines_are_skipped(paper: StartSupervisor, log: list[Any]) -> None:
    good = '{"target":"a","time":1,"instances":[{"id":"a","role":"node","fingerprint":%s}]}'
    script = (
        "import sys; print('junk\\n' * 50 + 'x' * 3_000_000, '[]', '{}', sys.argv[1], "
        "sep='\\n', flush=True); sys.stdin.read()"
    )
    p = paper(command=[sys.executable, "-c", script, good % '{"Healthy":true}'])
    p.supervisor.start()
    p.shows({"a": {"node": (True, None)}})
    assert [each["event"] for each in log] == ["bad line of a prober"] * 5


def test_a_line_that_is_too_long_takes_no_more_memory_than_it_must() -> None:
    splitter = Splitter()
    for _ in range(40):
        assert list(splitter.split(b"x" * 65_536)) == []
    (cut,) = splitter.split(b"x\n")
    assert LINE_MAXIMUM < len(cut) <= LINE_MAXIMUM + 3
    assert list(splitter.split(b"a\nb\nc")) == [b"a", b"b"]
