"""Heartbeats in a server's event loop: only the parts that neither wait nor take long run there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugind.api.scope import Head
from plugind.serve.asgi_application import create_asgi
from plugind.serve.runs import Client
from plugind.serve.services import Services
from tests.support import FakeAgent, serving, up

ADDRESS = "127.0.0.1:4646"


class Beats:
    """Heartbeats of an agent, one step at a time."""

    def __init__(self, services: Services, agent: FakeAgent) -> None:
        self.services = services
        self.agent = agent
        self._direct = create_asgi(services, ADDRESS)._direct

    def take(self, **body: Any) -> tuple[int, int]:
        """Send a heartbeat; return its status, and the number of its pauses."""
        path = f"/v1/node/{self.agent.node_id}/heartbeat"
        headers = [(name.encode(), text.encode()) for name, text in self.agent.headers.items()]
        scope = {
            "method": "PUT",
            "path": path,
            "query_string": b"",
            "headers": [(name.lower(), text) for name, text in headers],
            "client": ("127.0.0.1", 1),
        }
        content = json.dumps({"Digest": self.agent.digest, **body}).encode()
        request = Head(scope).request(content, Client(_receive))
        exchange = self._direct.exchange(request)
        steps = self._direct.answer(exchange, path)
        pauses = 0
        try:
            while next(steps):  # its signal is set already
                pauses += 1
        except StopIteration as end:
            return end.value.status, pauses
        finally:
            exchange.turn.end()
        raise AssertionError


async def _receive() -> dict[str, Any]:
    return {"type": "http.disconnect"}


@pytest.fixture
def beats(tmp_path: Path) -> Iterator[Beats]:
    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        assert agent.report({"ebs0": {"node": up()}}).status == 200
        yield Beats(api.services, agent)


def test_one_that_changes_nothing_has_no_pause(beats: Beats) -> None:
    assert beats.take() == (200, 0)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param({"RunID": 5}, 400, id="a mistake, which takes long to name"),
        pytest.param({"Digest": "x" * 32}, 409, id="a digest that another process may know"),
    ],
)
def test_what_is_not_quick_comes_after_a_pause(
    beats: Beats, body: dict[str, Any], status: int
) -> None:
    assert beats.take(**body) == (status, 1)


def test_another_secret_is_looked_up_after_a_pause(beats: Beats) -> None:
    beats.agent.secret = "another" * 5
    assert beats.take() == (403, 1)


def test_a_node_that_is_down_is_taken_back_after_a_pause(beats: Beats) -> None:
    beats.services.intake.silence([beats.agent.node_id])
    assert beats.take() == (200, 1)
    assert beats.take() == (200, 0)


def test_an_agent_is_known_by_its_second_heartbeat(beats: Beats) -> None:
    assert [beats.take(RunID="a"), beats.take(RunID="a")] == [(200, 1), (200, 0)]


def test_two_agents_of_one_node_are_distinguished(beats: Beats) -> None:
    def is_cloned() -> bool:
        return bool(beats.services.catalogue.state.nodes[beats.agent.node_id].cloned_since)

    assert [beats.take(RunID=run) for run in "ab"] == [(200, 1), (200, 1)]
    assert not is_cloned(), "b may be a, restarted"
    assert beats.take(RunID="a") == (200, 1)
    assert is_cloned()
    assert beats.take(RunID="a") == (200, 1), "until only one of them is heard for a while"
