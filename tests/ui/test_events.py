"""``/ui/events``: open pages are told of each change by a stream, while they may."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.api.conftest import FEW_THREADS
from tests.api.gate import acl_block
from tests.api.test_rights_while_waiting import Harness
from tests.promises import PATIENCE, promised
from tests.support import FakeAgent, Live, down, eventually, serving, up


@contextmanager
def following(api: Live, **headers: str) -> Iterator[http.client.HTTPResponse]:
    """Open a stream, and read the line that says when to connect again."""
    connection = http.client.HTTPConnection(api.address.partition("//")[2], timeout=PATIENCE)
    try:
        connection.request("GET", "/ui/events", headers=headers)
        with connection.getresponse() as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/event-stream"
            retry, blank = answer.readline(), answer.readline()
            assert 2_000 <= int(retry.removeprefix(b"retry: ")) <= 6_000
            assert blank == b"\n"
            yield answer
    finally:
        connection.close()


def event(answer: http.client.HTTPResponse) -> bytes:
    """Return the next event, its lines joined; b"" at the end."""
    lines = []
    while (line := answer.readline()) not in (b"\n", b""):
        lines.append(line.strip())
    return b" ".join(lines)


def test_each_change_is_announced_by_its_index_alone(tmp_path: Path) -> None:
    with serving(tmp_path, live=True, **FEW_THREADS) as api:
        assert isinstance(api, Live)
        agent = FakeAgent(api)
        with following(api) as answer:
            assert event(answer) == b"event: alive data: {}"
            for fingerprint in (up(), down("a secret reason")):
                with promised(1.0):
                    index = agent.report({"ebs0": {"node": fingerprint}}).json["Index"]
                    assert event(answer) == b'event: change data: {"Index":%d}' % index
            assert agent.beat().status == 200
            assert api.services.events.streams == 1
            api.services.wake()
            assert event(answer) == b""
        eventually(lambda: api.services.events.streams == 0)


def test_rights_are_decided_again(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    with serving(tmp_path, live=True, config=acl_block(tmp_path), **FEW_THREADS) as api:
        assert isinstance(api, Live)
        assert api.call("GET", "/ui/events").status == 403
        with following(api, **{"X-Nomad-Token": harness.reader}) as answer:
            assert event(answer) == b"event: alive data: {}"
            harness.write("")
            harness.reload(api)
            with promised(3.0):
                assert event(answer) == b""


def test_it_shares_the_places_of_streams(tmp_path: Path) -> None:
    with serving(tmp_path, live=True, server_max_streams="1", **FEW_THREADS) as api:
        assert isinstance(api, Live)
        with following(api) as answer:
            assert event(answer) == b"event: alive data: {}"
            assert api.call("GET", "/ui/events").status == 429
            assert api.call("HEAD", "/ui/events").status == 200
