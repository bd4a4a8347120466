"""The probes that agents report, from the prober to the server's metrics."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from plugind.metrics.probes import ProbeCounter
from plugind.model.probes import Probes
from plugind.model.times import INT64_MAX, SECOND
from tests.metrics.scrapes import scrape, values
from tests.processes import machine
from tests.support import Api, FakeAgent, Live, eventually, serving, up


def counted(counter: ProbeCounter) -> tuple[int, float, int]:
    """Return the number of probes of type csi, their seconds, and the number of failures."""
    durations = counter.durations.totals()["csi",]
    return durations.count, durations.sum, counter.failures.totals()["csi",].count


def test_what_is_new_is_counted() -> None:
    counter = ProbeCounter(["csi"])
    counter.hear("a", "run", {"csi": Probes(1_000, 10, 500 * SECOND)})
    assert counted(counter) == (0, 0.0, 0), "these may be the probes of months"
    counter.hear("a", "run", {"csi": Probes(1_004, 11, 502 * SECOND), "other": Probes(9, 9, 9)})
    counter.hear("a", "run", {"csi": Probes(1_004, 11, 502 * SECOND)})
    counter.hear("a", "run", {})  # an agent of an older version took its place for a moment
    counter.hear("b", "run", {"csi": Probes(7, 7, 7)})
    assert counted(counter) == (4, 2.0, 1)
    assert list(counter.durations.totals()) == [("csi",)]


def test_another_run_begins_anew_and_so_do_smaller_numbers() -> None:
    counter = ProbeCounter(["csi"])
    counter.hear("a", "one", {"csi": Probes(10, 0, 10 * SECOND)})
    counter.hear("a", "two", {"csi": Probes(20, 0, 20 * SECOND)})
    assert counted(counter)[0] == 0
    counter.hear("a", "two", {"csi": Probes(3, 1, 3 * SECOND)})
    counter.hear("a", "two", {"csi": Probes(3, 1, 3 * SECOND)})
    assert counted(counter) == (0, 0.0, 0), "it may have been heard late"
    counter.hear("a", "two", {"csi": Probes(5, 2, 6 * SECOND)})
    assert counted(counter) == (2, 3.0, 1)


def test_what_is_heard_late_is_not_counted_again() -> None:
    counter = ProbeCounter(["csi"])
    for number in (1_000, 1_002, 1_001, 1_003, 1_002, 1_005):
        counter.hear("a", "run", {"csi": Probes(number, 0, number * SECOND)})
    assert counted(counter) == (5, 5.0, 0)


def test_sums_stay_within_what_the_wire_has_room_for() -> None:
    most = Probes(INT64_MAX, INT64_MAX, INT64_MAX)
    assert most.plus(Probes(1, 1, 1)) == most


@pytest.mark.parametrize(
    "probes",
    [
        {"csi": {"Count": -1}},
        {"csi": {"Count": 1.5}},
        {"csi": {"Count": INT64_MAX + 1}},
        {"csi": {"Time": "1s"}},
        {"csi": []},
        {str(number): {} for number in range(257)},
        7,
    ],
    ids=repr,
)
def test_nonsense_is_refused(tmp_path: Path, probes: Any) -> None:
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        assert agent.report({}, Probes=probes).status == 400
        assert agent.report({}).status == 200


def test_reports_and_heartbeats_have_them_and_need_not(tmp_path: Path) -> None:
    """Check that they are no change: neither the index nor the digest moves."""

    def probes(number: int) -> dict[str, Any]:
        return {"csi": {"Count": float(number), "Failures": 1, "Time": number * SECOND, "Later": 1}}

    def beat(api: Api, number: int) -> int:
        body = {"Digest": agent.digest, "RunID": "run", "Probes": probes(number)}
        answer = api.call("PUT", f"/v1/node/{agent.node_id}/heartbeat", body, agent.headers)
        assert answer.status == 200, answer.text
        return int(answer.json["Index"])

    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        index = agent.report({"ebs0": {"node": up()}}, RunID="run", Probes=probes(5)).json["Index"]
        assert beat(api, 7) == index
        assert agent.report({"ebs0": {"node": up()}}, RunID="run", Probes=probes(8)).status == 200
        assert agent.beat(run_id="run").status == 200
        found = scrape(api)["plugind_probe_duration_seconds"].samples
        assert {each.name: each.value for each in found if each.labels["type"] == "csi"} == {
            "plugind_probe_duration_seconds_count": 3,
            "plugind_probe_duration_seconds_sum": 3.0,
        }
        api.services.intake.forget_node(agent.node_id)
        assert not api.services.metrics.server.probes._heard


def test_a_real_agent_reports_its_probes(tmp_path: Path) -> None:
    """Count a driver that fails as a failure, and measure the durations of real probes."""
    folder = tmp_path / "server"
    folder.mkdir()
    flags = {"server_heartbeat_ttl": "1s"}
    with machine(tmp_path) as here, serving(folder, live=True, **flags) as api:
        assert isinstance(api, Live)
        here.driver("vm1/ebs0.sock")
        here.agent("vm1", api.address, plugin_type_csi_probe_interval="100ms")

        def sums() -> tuple[float, float, float]:
            found = scrape(api)
            samples = found["plugind_probe_duration_seconds"].samples
            count, seconds = (each.value for each in samples if each.labels["type"] == "csi")
            return count, seconds, values(found["plugind_probe_failures"], "type")["csi",]

        count, seconds, _ = eventually(lambda: (found := sums())[0] >= 5 and found)
        assert 0 < seconds / count < 3
        assert math.isfinite(seconds)
        here.started[0].kill()
        eventually(lambda: sums()[2] >= 3)
