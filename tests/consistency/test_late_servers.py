"""A server that learns late of another server's acknowledged writes still answers correctly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.consistency.calls import Calls, Got, Server
from tests.consistency.clients import new_node
from tests.consistency.mutants import Late
from tests.consistency.rigs import in_process

NODE = new_node()
TIMES = 5


class Two:
    """Two servers that each learn late of the other's writes, and calls to them."""

    def __init__(self, servers: list[Server], calls: Calls) -> None:
        self.servers, self.calls = servers, calls

    def call(self, number: int, method: str, path: str, body: Any = None, secret: str = "s") -> Got:
        headers = {"X-Plugind-Node-Secret": secret}
        return self.calls.call(self.servers[number], method, path, body, headers)

    def report(self, number: int, text: str, secret: str = "s") -> Got:
        shown = {"Healthy": True, "HealthDescription": text}
        body = {"Name": "vm", "Plugins": {"csi": {"ebs0": {"node": shown}}}}
        return self.call(number, "PUT", f"/v1/node/{NODE}", body, secret)

    def shown(self) -> str:
        found = self.call(0, "GET", "/v1/plugin/csi/ebs0").json
        return str(found["Nodes"][NODE]["HealthDescription"])


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    calls = Calls()
    with in_process(tmp_path, 2, wrap=Late.around) as rig:
        yield Two(list(rig.servers), calls)
        calls.close()


def test_a_node_that_another_server_took_can_be_removed(two: Two) -> None:
    for _ in range(TIMES):
        assert two.report(0, "one").status == 200
        assert two.call(1, "DELETE", f"/v1/node/{NODE}").status == 200


def test_a_report_of_what_was_so_before_the_last_one_is_taken(two: Two) -> None:
    """Send a report that the second server, which is late, takes for a repetition."""
    for _ in range(TIMES):
        assert two.report(0, "ill").status == 200
        assert two.report(1, "well").status == 200
        assert two.shown() == "well"
        assert two.report(0, "ill").json["Index"] < two.report(1, "well").json["Index"]
        assert two.shown() == "well"


def test_a_secret_that_was_unpinned_elsewhere_is_not_asked_for(two: Two) -> None:
    for number in range(TIMES):
        assert two.report(0, "one", f"secret {number}").status == 200
        assert two.call(0, "DELETE", f"/v1/node/{NODE}/secret").status == 200
        assert two.report(1, "two", f"secret {number + 1}").status == 200
