"""Each long-lived thread is killed by an exception: health shows it, and its work goes on."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from plugind.agent import Agent
from plugind.agent.supervisor.orphans import Orphans
from plugind.health import threads
from plugind.health.threads import OwnedThread
from plugind.serve.workers import SPARE, LastIdleFirst
from plugind.testing.serving import LiveServer, live_server, run_agent
from tests.support import Api, FakeAgent, Live, down, eventually, up
from tests.test_announcing import listener, received
from tests.test_registry import Installer


class Killed(BaseException):
    """The exception that kills a thread."""


def kill(thread: OwnedThread) -> None:
    """Make a thread raise Killed at the next instruction that it executes."""
    ident = ctypes.c_ulong(thread.ident or 0)
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(Killed)) == 1


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(threads, "RESTART_AFTER", 0.001)
    with capture_logs():
        yield


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    listener(Installer(folder), "t-one")
    with live_server(server_heartbeat_ttl="1s") as made:
        yield made
    sys.modules.pop("t_one", None)


def owned(server: LiveServer, name: str) -> OwnedThread:
    """Return the thread of a server by its name."""
    groups = server.services.conditions.threads
    (found,) = (each for some in groups for each in some() if each.name == name)
    return found


def next_worker(server: LiveServer) -> OwnedThread:
    """Return the worker that gets the next request: the one that became idle last."""

    def found() -> OwnedThread | None:
        all_ = [each for some in server.services.conditions.threads for each in some()]
        workers = [each for each in all_ if each.name.startswith("worker ")]
        frames = sys._current_frames()
        (starter,) = (each for each in all_ if each.name == "workers")
        is_starting = frames[starter.ident or 0].f_code is not threading.Condition.wait.__code__
        if is_starting or len(workers) < SPARE:
            return None  # one more is starting, and would get the next request
        waiting = [(each, frames[each.ident or 0]) for each in workers]
        idle = {
            each: frame.f_locals
            for each, frame in waiting
            if frame.f_code is LastIdleFirst.wait.__code__
        }
        for each, values in idle.items():
            if values["self"]._idle[-1:] == [values["turn"]]:
                return each if len(idle) == len(workers) else None
        return None

    return eventually(found)


def is_idle(thread: OwnedThread) -> bool:
    """Return whether a thread of the HTTP server waits for something to do."""
    frame = sys._current_frames()[thread.ident or 0]
    return frame.f_code.co_name in ("wait", "turn")


def shown(server: LiveServer, name: str) -> bool:
    text = f"the thread {name} died once (Killed) and was restarted"
    return text in server.services.condition().message


def flips(api: Api) -> Callable[[], bool]:
    """Return a function that reports a change of a plugin's health at each call."""
    agent = FakeAgent(api)
    state = [False]

    def flip() -> bool:
        state[0] = not state[0]
        return agent.report({"p": {"node": up() if state[0] else down()}}).status == 200

    return flip


WORKER = "the next worker"
"""Whichever worker is next: others may stay idle for long, and so would not raise Killed."""


@pytest.mark.parametrize(
    "name",
    [
        "feed",
        "pacing",
        "liveness",
        "events",
        "hooks",
        "hooks of t-one of t-one 1.0",
        "http",
        WORKER,
    ],
)
def test_threads_of_the_server(server: LiveServer, name: str) -> None:
    api = Live(server.services, server.address)
    flip = flips(api)
    assert flip()
    thread = next_worker(server) if name == WORKER else owned(server, name)
    if name in ("http", WORKER):  # they log whatever their work for one connection raises
        eventually(lambda: is_idle(thread))
    kill(thread)

    def dies() -> bool:
        with suppress(OSError):  # the thread may have been serving this connection
            flip()
        return shown(server, thread.name)

    eventually(dies)
    assert server.services.condition().ok
    assert "threads that died: 1" in server.services.condition().summary

    # All goes on: waiting clients and packages are notified of changes, and nodes go down.
    count = len(received("t_one"))
    index = server.client.plugins("csi").index
    answers = []
    wait = threading.Thread(
        target=lambda: answers.append(
            api.call("GET", f"/v1/plugins?type=csi&index={index}&wait=30s").index
        )
    )
    wait.start()
    eventually(lambda: flip() and answers)
    wait.join()
    assert answers[0] > index
    eventually(lambda: len(received("t_one")) > count)
    eventually(lambda: all(node["Status"] == "down" for node in api.call("GET", "/v1/nodes").json))


def test_the_writer_ends_and_answers_all(server: LiveServer) -> None:
    api = Live(server.services, server.address)
    flip = flips(api)
    assert flip()
    kill(owned(server, "intake"))
    eventually(lambda: not flip())
    assert FakeAgent(api).report({"p": {"node": up()}}).status == 503
    ok, message = server.services.health()
    assert not ok
    assert "the thread intake died (Killed); restart the process" in message
    assert api.call("GET", "/v1/plugins?type=csi").status == 200, "reads go on"


def test_a_package_learns_that_it_may_have_missed_a_change(server: LiveServer) -> None:
    flip = flips(Live(server.services, server.address))
    kill(owned(server, "hooks"))
    eventually(lambda: flip() and shown(server, "hooks"))
    assert "t-one of t-one 1.0 missed 1 changes, for a thread died (Killed)" in (
        server.services.condition().message
    )
    eventually(lambda: flip() and any(change.missed == 1 for change in received("t_one")))


@pytest.fixture
def agent(server: LiveServer) -> Iterator[Agent]:
    config = 'plugin_type "exec" {\n check "good" {\n  command = ["true"]\n }\n}\n'
    with run_agent(server.address, config, types="exec") as made:  # with no check, it would end
        eventually(lambda: server.client.nodes().value)
        yield made


def died(agent: Agent, thread: OwnedThread) -> None:
    """Kill a thread of an agent, and wait until health shows it."""
    kill(thread)
    text = f"the thread {thread.name} died once (Killed) and was restarted"
    eventually(lambda: text in agent.condition().message)
    eventually(lambda: agent.condition().ok)


def test_a_supervisor_that_dies_starts_again_with_a_new_process(agent: Agent) -> None:
    (before,) = eventually(agent.probers)
    died(agent, agent._supervisors["exec"].thread)
    eventually(lambda: agent.probers() not in ([], [before]))
    assert not Path(f"/proc/{before}").exists(), "it was ended, and its status collected"
    assert "the supervisor of exec died and is being restarted" in agent.condition().message


def test_a_reporter_that_dies_reports_again(agent: Agent, server: LiveServer) -> None:
    reporter = agent._reporter
    assert reporter is not None
    died(agent, reporter.thread)
    (node,) = server.client.nodes().value
    server.services.intake.forget_node(node["ID"])
    eventually(lambda: server.client.nodes().value)


def test_the_thread_that_ends_orphans_goes_on(agent: Agent) -> None:
    orphans = Orphans(agent.probers)
    orphans.start()
    try:
        agent.threads.append(orphans.thread)
        died(agent, orphans.thread)
        assert orphans.thread.is_alive()
    finally:
        orphans.stop()
