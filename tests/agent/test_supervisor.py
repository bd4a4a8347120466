"""A prober process under its supervisor: real processes, controlled by files."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from plugind.agent.protocol import LINE_MAXIMUM, Found
from plugind.agent.state import TypeState
from plugind.agent.supervisor import supervisor
from plugind.agent.supervisor.supervisor import Splitter, resident
from tests.agent.conftest import HANGS, StartSupervisor
from tests.promises import SOON, eventually, promised

HEALTHY = (True, "healthy")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_targets_come_change_and_go(scripted: StartSupervisor) -> None:
    p = scripted()
    p.order("a", "healthy node controller")
    p.order("b", "unhealthy *")
    p.supervisor.start()
    both = {"controller": HEALTHY, "node": HEALTHY}
    p.shows({"a": both, "b": {"*": (False, "unhealthy")}})
    eventually(lambda: p.supervisor.state.complete)
    p.order("b", "healthy node")
    p.shows({"a": both, "b": {"node": HEALTHY}})
    p.remove("b")
    p.shows({"a": both})
    eventually((p.folder / ".closed-b").exists)


def test_a_prober_that_does_not_find_its_targets_after_a_reload_is_reported(
    scripted: StartSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "START_MAXIMUM", 3.0)
    known = TypeState().after(Found("a", 1, {("a", "node"): {"Healthy": True}}))
    p = scripted(state=known, before={"folder": "none"}, block=HANGS)
    p.order(".discover", "hang")
    p.supervisor.start()
    assert p.plugins() == {"a": {"node": (True, None)}}
    reason = "the prober of scripted has not found its targets and is being restarted"
    p.shows({"a": {"node": (False, reason)}})


def test_settings_before_that_do_not_work_any_more_do_no_harm(
    scripted: StartSupervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    p = scripted(before={"folder": 5})
    p.order("a", "healthy node")
    p.supervisor.start()
    p.shows({"a": {"node": HEALTHY}})
    p.supervisor.stop()
    assert "the targets of the previous settings are not known" in capfd.readouterr().err


def test_what_left_on_purpose_is_reported_until_it_is_acknowledged(
    scripted: StartSupervisor,
) -> None:
    p = scripted()
    p.order("a", "healthy node controller")
    p.supervisor.start()
    p.shows({"a": {"controller": HEALTHY, "node": HEALTHY}})
    p.order("a", "healthy node")
    p.shows({"a": {"controller": None, "node": HEALTHY}})
    p.supervisor.acknowledged([("a", "controller")])
    assert p.plugins() == {"a": {"node": HEALTHY}}
    p.order("a", "fail")
    p.shows({"a": {"node": (False, "the page is torn")}})
    p.order("a", "healthy node")
    p.shows({"a": {"node": HEALTHY}})


def test_bad_probes_are_unhealthy_instances(scripted: StartSupervisor) -> None:
    reasons = {
        "fail": "the page is torn",
        "error": "KeyError: 'ink'",
        "exit": "SystemExit: bye",
        "hang": "no answer within 200ms",
        "flood": "probe returned 1,001 instances; at most 1,000 are taken",
        "big": "what probe returned is too much: it takes",
        "nan": "its plugin type gave a bad fingerprint: Out of range float values",
    }
    well = {name: {"node": HEALTHY} for name in [*reasons, "neighbour"]}
    p = scripted(block=HANGS)
    for name in well:
        p.order(name, "healthy node")
    p.supervisor.start()
    p.shows(well)
    for name in reasons:
        p.order(name, name)

    def are_reported() -> bool:
        shown = {name: p.plugins()[name]["node"] for name in reasons}
        return all(
            not shown[name][0] and shown[name][1].startswith(reason)
            for name, reason in reasons.items()
        )

    eventually(are_reported, what=lambda: str(p.plugins()))
    eventually(lambda: p.plugins()["neighbour"] == {"node": HEALTHY})
    for name in reasons:
        p.order(name, "healthy node")
    p.shows(well)


def test_a_target_has_its_own_schedule(scripted: StartSupervisor) -> None:
    p = scripted(block=HANGS)
    for name in ("a", "odd", "patient"):
        p.order(name, "healthy node")
    p.supervisor.start()
    p.shows({name: {"node": HEALTHY} for name in ("a", "odd", "patient")})
    for name in ("a", "odd", "patient"):
        p.order(name, "hang")
    doubt = "healthy; probes fail, but fewer than 3 in a row: no answer within 100ms"
    eventually(lambda: any(shown.get("patient") == {"node": (True, doubt)} for shown in p.shown))
    late = {"node": (False, "no answer within 200ms")}
    p.shows({"a": late, "odd": late, "patient": {"node": (False, "no answer within 100ms")}})
    p.order("patient", "healthy node")
    eventually(lambda: p.plugins()["patient"] == {"node": HEALTHY})


def test_an_answer_that_is_always_late_is_one_change(scripted: StartSupervisor) -> None:
    p = scripted(block=HANGS)
    p.supervisor.start()
    eventually(lambda: p.supervisor.state.complete)
    p.order("a", "late")
    p.has_shown({"a": {"*": (False, "no answer within 200ms")}})  # it is counted by then
    changes = p.changes
    eventually((p.folder / ".late-a").exists)
    eventually(lambda: len((p.folder / ".late-a").read_text()) > 1)
    assert p.changes == changes
    p.order("a", "healthy node")
    p.shows({"a": {"node": HEALTHY}})


def test_a_failure_from_the_first_second_stands_under_the_targets_name(
    scripted: StartSupervisor,
) -> None:
    p = scripted(block=HANGS)
    p.order("a", "fail")
    p.order("b", "hang")
    p.order("no id", "fail")
    p.supervisor.start()
    p.shows(
        {"a": {"*": (False, "the page is torn")}, "b": {"*": (False, "no answer within 200ms")}}
    )
    eventually(lambda: p.supervisor.state.complete)


def test_times_are_those_of_changes(scripted: StartSupervisor) -> None:
    p = scripted()
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


def test_two_targets_with_one_instance_are_reported(scripted: StartSupervisor) -> None:
    p = scripted()
    p.order("a@1", "healthy node")
    p.order("a@2", "healthy node controller")
    p.supervisor.start()
    claimed = (False, "claimed by two targets: a@1 and a@2")
    p.shows({"a": {"controller": HEALTHY, "node": claimed}})
    p.remove("a@1")
    p.shows({"a": {"controller": HEALTHY, "node": HEALTHY}})


def test_changed_probes_and_looks_at_once(scripted: StartSupervisor) -> None:
    p = scripted(block={"probe_interval": "1h"})
    p.order("a", "healthy node")
    p.supervisor.start()
    p.shows({"a": {"node": HEALTHY}})
    p.order("a", "unhealthy node")
    p.order("b", "healthy node")
    (p.folder / ".changed").write_text("a\n\n")
    p.shows({"a": {"node": (False, "unhealthy")}, "b": {"node": HEALTHY}})


def test_a_bad_discover_does_not_stop_what_is_known(scripted: StartSupervisor) -> None:
    p = scripted(block=HANGS)
    p.order("a", "healthy node")
    p.supervisor.start()
    p.shows({"a": {"node": HEALTHY}})
    known = {"a": {"node": HEALTHY}}
    for order, new in (("raise", "b"), ("hang", "c")):
        p.order(".discover", order)
        p.order(new, "healthy node")
        p.order("a", "unhealthy node")
        p.shows({**known, "a": {"node": (False, "unhealthy")}})
        p.remove(".discover")
        p.order("a", "healthy node")
        known[new] = {"node": HEALTHY}
        p.shows(known)


def test_too_many_targets_are_cut(scripted: StartSupervisor) -> None:
    p = scripted(block={"probe_interval": "1h"})
    p.order(".discover", "many")
    p.supervisor.start()
    eventually(lambda: p.supervisor.state.names)
    assert len(p.supervisor.state.names or ()) == 1_000


def test_output_of_a_type_is_no_message(
    scripted: StartSupervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    p = scripted()
    p.order("a", "print")
    p.supervisor.start()
    p.shows({"a": {"node": (True, None)}})
    p.supervisor.stop()
    assert "a print() of the type's" in capfd.readouterr().err


def test_a_dead_prober_is_reported_and_restarted(scripted: StartSupervisor) -> None:
    p = scripted()
    p.order("a", "healthy node controller")
    p.supervisor.start()
    p.shows({"a": {"controller": HEALTHY, "node": HEALTHY}})
    p.order("a", "die")
    dead = (False, "the prober of scripted ended (status 7) and is being restarted")
    p.shows({"a": {"controller": dead, "node": dead}})
    p.order("a", "healthy node")
    p.shows({"a": {"controller": None, "node": HEALTHY}})


def test_targets_that_went_while_the_prober_was_dead_are_dropped(scripted: StartSupervisor) -> None:
    p = scripted()
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


def test_a_prober_without_messages_is_killed(scripted: StartSupervisor) -> None:
    p = scripted(patience=2.0)
    p.order("a", "healthy node")
    p.supervisor.start()
    p.shows({"a": {"node": HEALTHY}})
    pid = p.supervisor.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    p.shown.clear()
    no_message = (False, "the prober of scripted gave no sign of life and is being restarted")
    p.has_shown({"a": {"node": no_message}})
    assert not is_running(pid)
    p.shows({"a": {"node": HEALTHY}})


def test_a_prober_that_takes_too_much_memory_is_restarted(scripted: StartSupervisor) -> None:
    p = scripted(block={"memory_limit": 128 << 20})
    p.order("a", "healthy node")
    p.order("b", "healthy node")
    p.supervisor.start()
    p.shows({"a": {"node": HEALTHY}, "b": {"node": HEALTHY}})
    pid = p.supervisor.pid
    assert pid is not None
    assert 0 < resident(pid) < 128 << 20
    p.order("a", "eat")
    reason = "the prober of scripted grew past its memory limit of 128 MiB and is being restarted"
    p.has_shown({"a": {"node": (False, reason)}, "b": {"node": (False, reason)}})
    assert not is_running(pid)
    assert resident(pid) == 0
    p.order("a", "healthy node")
    p.shows({"a": {"node": HEALTHY}, "b": {"node": HEALTHY}})


def test_without_a_limit_it_may_take_what_it_likes(scripted: StartSupervisor) -> None:
    p = scripted(block={"memory_limit": 0})
    p.order("a", "eat")
    p.supervisor.start()
    p.shows({"a": {"node": (True, None)}})
    pid = p.supervisor.pid
    assert pid is not None
    assert resident(pid) > 200 << 20
    time.sleep(1.2)  # there is no event for a look that finds nothing wrong
    assert p.supervisor.pid == pid


def test_a_prober_that_was_stopped_does_not_blame_its_targets(scripted: StartSupervisor) -> None:
    p = scripted(block={"probe_timeout": "1s"})
    p.order("a", "healthy node")
    p.supervisor.start()
    p.shows({"a": {"node": HEALTHY}})
    pid = p.supervisor.pid
    assert pid is not None
    p.order("a", "nap")
    eventually((p.folder / ".napping-a").exists)
    os.kill(pid, signal.SIGSTOP)
    changes = p.changes
    time.sleep(2.5)  # longer than it takes to call a probe overdue
    os.kill(pid, signal.SIGCONT)
    p.order("b", "healthy node")
    p.shows({"a": {"node": HEALTHY}, "b": {"node": HEALTHY}})
    (p.folder / ".alarm").touch()
    p.order("a", "healthy controller")
    p.shows({"a": {"node": None, "controller": HEALTHY}, "b": {"node": HEALTHY}})
    # b came, b was probed, a has another half
    eventually(lambda: p.changes == changes + 3)
    assert p.supervisor.pid == pid


def test_stop_ends_a_prober_that_hangs(scripted: StartSupervisor) -> None:
    p = scripted(block=HANGS, grace=10 * SOON)
    p.order("a", "hang")
    p.supervisor.start()
    eventually(lambda: p.plugins())
    hanging = p.supervisor.pid
    assert hanging is not None
    with promised(SOON):  # the end of its input stops it
        p.supervisor.stop()
    assert not is_running(hanging)
    p.supervisor.stop()


def test_stop_kills_a_stopped_prober(scripted: StartSupervisor) -> None:
    p = scripted(grace=0.2)
    p.order("a", "healthy node")
    p.supervisor.start()
    p.shows({"a": {"node": HEALTHY}})
    assert p.supervisor.pid is not None
    os.kill(p.supervisor.pid, signal.SIGSTOP)
    p.supervisor.stop()
    assert not is_running(p.supervisor.pid)
    assert p.plugins() == {"a": {"node": HEALTHY}}, "an agent that ends reports no change"


def test_ctrl_c_is_the_agents_and_sigterm_ends(scripted: StartSupervisor) -> None:
    p = scripted()
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
    eventually(lambda: p.supervisor.pid != pid)


def test_a_type_without_a_prober_is_let_be(scripted: StartSupervisor) -> None:
    p = scripted(block={"folder": "none"})
    p.supervisor.start()
    eventually(lambda: p.supervisor.state.complete)
    pid = p.supervisor.pid
    assert pid is not None
    eventually(lambda: not is_running(pid))
    p.supervisor.stop()
    assert p.supervisor.pid == pid


def test_bad_settings_are_reported(
    scripted: StartSupervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    p = scripted(block={"folder": 5, "nonsense": 1})
    p.supervisor.start()
    first = p.supervisor
    eventually(lambda: first.pid)
    pid = first.pid
    eventually(lambda: first.pid != pid)
    p.supervisor.stop()
    assert "correct the plugin_type block" in capfd.readouterr().err


def test_a_command_that_cannot_start(
    scripted: StartSupervisor, log: list[Any], tmp_path: Path
) -> None:
    p = scripted(command=[str(tmp_path / "nothing")])
    p.supervisor.start()
    eventually(lambda: str(log).count("could not be started (No such file or directory)") > 1)


def test_bad_lines_are_skipped(scripted: StartSupervisor, log: list[Any]) -> None:
    good = '{"target":"a","time":1,"instances":[{"id":"a","role":"node","fingerprint":%s}]}'
    script = (
        "import sys; print('junk\\n' * 50 + 'x' * 3_000_000, '[]', '{}', sys.argv[1], "
        "sep='\\n', flush=True); sys.stdin.read()"
    )
    p = scripted(command=[sys.executable, "-c", script, good % '{"Healthy":true}'])
    p.supervisor.start()
    p.shows({"a": {"node": (True, None)}})
    assert [each["event"] for each in log] == ["invalid message of a prober"] * 5


def test_a_line_that_is_too_long_takes_no_more_memory_than_it_must() -> None:
    splitter = Splitter()
    for _ in range(40):
        assert list(splitter.split(b"x" * 65_536)) == []
    (cut,) = splitter.split(b"x\n")
    assert LINE_MAXIMUM < len(cut) <= LINE_MAXIMUM + 3
    assert list(splitter.split(b"a\nb\nc")) == [b"a", b"b"]
