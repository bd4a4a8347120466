"""Servers that share a SQLite store the way the processes of one server do."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.store.children import child
from tests.support import FakeAgent, down, eventually, serving, up

HOLDS = """
say("ready"); hear()
with store._turn():
    say("held"); hear()
say("free"); hear()
"""
REPORTS = 20


def test_what_one_acknowledges_the_other_reads(tmp_path: Path) -> None:
    with (
        serving(tmp_path, live=True, shared=True) as one,
        serving(tmp_path, live=True, shared=True) as two,
    ):
        agent = FakeAgent(one)
        for number in range(REPORTS):
            health = up() if number % 2 else down()
            index = agent.report({"ebs0": {"node": health}}).json["Index"]
            found = two.call("GET", "/v1/plugin/csi/ebs0")
            assert found.index == index
            assert found.json["NodesHealthy"] == number % 2


def test_health_names_the_process_that_others_wait_for(tmp_path: Path) -> None:
    with serving(tmp_path, live=True, shared=True) as api, child(tmp_path, HOLDS) as other:
        agent = FakeAgent(api)
        assert agent.report({"ebs0": {"node": up()}}).status == 200
        assert other.hear() == "ready"
        other.say()
        assert other.hear() == "held"
        os.kill(other.pid, signal.SIGSTOP)

        def message() -> str:
            answer = api.call("GET", "/v1/agent/health?type=server")
            text = str(answer.json["server"]["message"])
            return text if f"process {other.pid} has held" in text else ""

        assert "no other process can write" in eventually(message)
        assert api.call("GET", "/v1/plugin/csi/ebs0").status == 200, "reads go on"
        os.kill(other.pid, signal.SIGCONT)
        other.say()
        assert other.hear() == "free"
        eventually(lambda: agent.report({"ebs0": {"node": down()}}).status == 200)
        assert api.call("GET", "/v1/plugin/csi/ebs0").json["NodesHealthy"] == 0
