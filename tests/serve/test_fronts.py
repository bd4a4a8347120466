"""Behaviour common to every HTTP server that plugind runs on: waitress, granian and uvicorn."""

from __future__ import annotations

import json
import re
import socket
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from plugind.errors import PlugindError
from plugind.serve.embedded import Embedded
from plugind.serve.front import GRANIAN, KINDS, UVICORN, WAITRESS, front
from plugind.serve.listening import listen
from plugind.serve.services import Services
from plugind.testing.serving import load
from tests.api.gate import MANAGEMENT, Gate, gate
from tests.promises import PATIENCE, SOON, promised
from tests.serve.raw import chunked, connect, exchange, head, rest, statuses, until
from tests.support import Answer, FakeAgent, Live, down, eventually, serving, up

FEW = {"server_max_parked": "20", "server_max_reports": "20"}
ASGI = [GRANIAN, UVICORN]
LIST = "/v1/plugins?type=csi"
SECRET_LINE = "X-Plugind-Node-Secret: a secret of the first node's agent"


@pytest.fixture(scope="module", params=KINDS)
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a server of each kind, shared by all tests of the module that need no special one."""
    folder = tmp_path_factory.mktemp("front")
    with serving(folder, live=True, http=request.param, **FEW) as served:
        yield served


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "//v1/plugins?type=csi", 404),
        ("GET", "///", 404),
        ("GET", "/", 200),
        ("GET", "/ui", 303),
        ("GET", "/v1/plugins/?type=csi", 404),
        ("OPTIONS", "/v1/plugins", 405),
        ("DELETE", "/v1/plugins", 405),
        ("GET", "/v1/plugin/csi/%C3%A9%2Fx", 404),
        ("GET", "/v1/plugin/csi/%ff", 404),
        ("GET", f"{LIST}&prefix=%ff", 200),
        ("HEAD", LIST, 200),
        ("HEAD", "/v1/event/stream", 200),
        ("HEAD", "/nowhere", 404),
    ],
)
def test_a_request_has_the_same_answer(live: Live, method: str, path: str, status: int) -> None:
    found = exchange(live.address, head(method, path))
    assert statuses(found) == [status]
    begin, _, body = found.partition(b"\r\n\r\n")
    if method == "HEAD":
        assert body == b""
    elif b"content-length" in begin.lower():
        assert f"content-length: {len(body)}".encode() in begin.lower()


def test_a_report_in_chunks(live: Live) -> None:
    body = json.dumps({"Name": "vm1", "Plugins": {"csi": {"chunky": {"node": up()}}}}).encode()
    begin = head("PUT", f"/v1/node/{uuid.uuid4()}", SECRET_LINE, "Transfer-Encoding: chunked")
    found = exchange(live.address, begin + chunked(body[:9], body[9:]))
    assert statuses(found) == [200]
    assert live.call("GET", "/v1/plugin/csi/chunky").status == 200


def test_a_request_of_two_lengths_is_the_last_of_its_connection(live: Live) -> None:
    lines = SECRET_LINE, "Transfer-Encoding: chunked", "Content-Length: 4", "Connection: keep-alive"
    body = chunked(b'{"Name":"vm1","Plugins":{}}')
    smuggled = head("GET", "/v1/agent/health")
    found = exchange(
        live.address, head("PUT", f"/v1/node/{uuid.uuid4()}", *lines) + body + smuggled
    )
    assert statuses(found) in ([200], [400])


@pytest.mark.parametrize("size", [20_000, 300_000])
def test_a_body_that_is_too_large(live: Live, size: int) -> None:
    path = f"/v1/node/{uuid.uuid4()}/heartbeat"
    whole = head("PUT", path, SECRET_LINE, f"Content-Length: {size}") + b" " * size
    assert statuses(exchange(live.address, whole)) == [413]
    parts = head("PUT", path, SECRET_LINE, "Transfer-Encoding: chunked")
    assert statuses(exchange(live.address, parts + chunked(b" " * size))) == [413]


def test_a_head_that_is_too_large(live: Live) -> None:
    found = exchange(live.address, head("GET", "/v1/agent/health", "X: " + "x" * 2**20))
    assert statuses(found) in ([400], [431], [])
    assert live.call("GET", "/v1/agent/health").status == 200


def test_a_client_that_waits_to_send_its_body(live: Live) -> None:
    body = b'{"Name":"vm1","Plugins":{}}'
    lines = SECRET_LINE, f"Content-Length: {len(body)}", "Expect: 100-continue"
    with connect(live.address) as sock:
        sock.sendall(head("PUT", f"/v1/node/{uuid.uuid4()}", *lines))
        assert statuses(until(sock, b"\r\n\r\n")) == [100]
        sock.sendall(body)
        assert statuses(rest(sock)) == [200]


@pytest.mark.parametrize("kind", KINDS)
def test_no_body_is_read_before_the_token(tmp_path: Path, kind: str) -> None:
    made = gate(tmp_path, "plugin-read")
    with serving(tmp_path, live=True, http=kind, config=made.config, **FEW) as api:
        assert isinstance(api, Live)
        path, secret = f"/v1/node/{uuid.uuid4()}", made.secrets["plugin-read"]
        for lines in (
            ("Content-Length: 7000000", "Expect: 100-continue"),
            ("Transfer-Encoding: chunked", "Expect: 100-continue"),
        ):
            found = exchange(api.address, head("PUT", path, f"X-Nomad-Token: {secret}", *lines))
            assert statuses(found) == [403]


@pytest.mark.parametrize("kind", ASGI)
def test_a_body_has_a_deadline(tmp_path: Path, kind: str) -> None:
    with serving(tmp_path, live=True, http=kind, server_body_timeout="1s", **FEW) as api:
        assert isinstance(api, Live)
        begin = head("PUT", f"/v1/node/{uuid.uuid4()}", SECRET_LINE, "Content-Length: 50")
        found = exchange(api.address, begin + b"{")
        assert statuses(found) == [408]
        assert b"the body did not come within 1 s" in found
        assert api.services.hits.counts == {"body_timeout": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_leaves_frees_its_place(tmp_path: Path, kind: str) -> None:
    log = tmp_path / "access.log"
    with serving(tmp_path, live=True, http=kind, server_access_log=str(log), **FEW) as api:
        assert isinstance(api, Live)
        with connect(api.address) as sock:
            sock.sendall(head("GET", f"{LIST}&index=1&wait=5m"))
            eventually(lambda: api.services.catalogue.parked == 1)
        eventually(lambda: api.services.catalogue.parked == 0)
        eventually(lambda: '"status":499' in log.read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_events_are_sent_as_they_come(tmp_path: Path, kind: str) -> None:
    with serving(tmp_path, live=True, http=kind, **FEW) as api:
        assert isinstance(api, Live)
        with connect(api.address) as sock:
            sock.sendall(head("GET", "/v1/event/stream"))
            assert statuses(until(sock, b"{}\n")) == [200]
            FakeAgent(api).report({"ebs0": {"node": up()}})
            assert b'"Index":2' in until(sock, b"ebs0")
            assert api.services.events.streams == 1
        eventually(lambda: api.services.events.streams == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_answers_what_is_parked(tmp_path: Path, kind: str, pool: ThreadPoolExecutor) -> None:
    with serving(tmp_path, live=True, http=kind, **FEW) as api:
        asked = pool.submit(api.call, "GET", f"{LIST}&index=1&wait=5m")
        eventually(lambda: api.services.catalogue.parked == 1)
        api.services.wake()
        assert asked.result(PATIENCE).status == 200


@pytest.mark.parametrize("kind", ASGI)
def test_a_stop_waits_for_a_bounded_time(tmp_path: Path, kind: str) -> None:
    services = Services(*load(tmp_path, "", {"server_enabled": "true"}), tmp_path)
    with listen("127.0.0.1", 0) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = front(kind, services, listening, "127.0.0.1:4646")
        server.start()
        try:
            with connect(address) as sock:
                sock.sendall(head("GET", f"{LIST}&index=1&wait=5m"))
                eventually(lambda: services.catalogue.parked == 1)
                with promised(SOON):
                    server.stop(grace=1.0)  # nothing has woken the query
                assert statuses(rest(sock)) == [503]
            eventually(lambda: services.catalogue.parked == 0)
        finally:
            server.stop(grace=0.0)
            services.close()


@pytest.mark.parametrize("kind", ASGI)
def test_a_thousand_parked_queries_hold_no_thread(tmp_path: Path, kind: str) -> None:
    many = 1_000
    with serving(tmp_path, live=True, http=kind, server_max_parked=str(many)) as api:
        assert isinstance(api, Live)
        agent = FakeAgent(api)
        index = agent.report({"ebs0": {"node": up()}}).json["Index"]
        query = head("GET", f"{LIST}&index={index}&wait=5m")
        before = threading.active_count()  # other tests may have servers of their own
        socks = [connect(api.address) for _ in range(many)]
        try:
            for sock in socks:
                sock.sendall(query)
            eventually(lambda: api.services.catalogue.parked == many)
            assert threading.active_count() < before + many / 4
            assert api.call("GET", "/v1/agent/health").status == 200
            assert api.call("GET", f"{LIST}&index={index}&wait=5m").status == 429
            with promised(SOON):
                assert agent.report({"ebs0": {"node": down()}}).status == 200
                answers = [rest(sock) for sock in socks]
            assert all(statuses(each) == [200] for each in answers)
            assert all(b"x-nomad-index: 3" in each.lower() for each in answers)
        finally:
            for sock in socks:
                sock.close()


@pytest.mark.parametrize("kind", KINDS)
def test_health_knows_the_threads_of_the_server(tmp_path: Path, kind: str) -> None:
    with serving(tmp_path, live=True, http=kind, **FEW) as api:
        assert api.call("GET", "/v1/agent/health").status == 200
        names = [each.name for known in api.services.conditions.threads for each in known()]
        assert names.count("http") == 1
        assert len(names) == len(set(names))


@pytest.mark.parametrize("kind", ASGI)
def test_a_unix_socket(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "http.sock"
    log = {"server_enabled": "true", "server_access_log": str(tmp_path / "access.log")}
    services = Services(*load(tmp_path, "", log), tmp_path)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        server = front(kind, services, sock, "127.0.0.1:4646")
        server.start()
        try:
            found = exchange(path, head("GET", LIST))
            assert statuses(found) == [200]
            line = json.loads(eventually((tmp_path / "access.log").read_text))
            assert (line["remote"], line["status"]) == ("", 200)
        finally:
            services.wake()
            server.stop()
            services.close()


def _noted(folder: Path, made: Gate, kind: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the lines of the access log and the counters of requests, after some requests of each
    kind."""
    folder.mkdir()
    log = folder / "access.log"
    node = "11111111-2222-3333-4444-555555555555"
    with serving(
        folder, live=True, http=kind, config=made.config, server_access_log=str(log), **FEW
    ) as api:
        owner, reader = made.headers(MANAGEMENT), made.headers("plugin-read")
        agent = FakeAgent(api, node_id=node, token=made.secrets[MANAGEMENT])
        answers: list[Answer] = [
            agent.report({"ebs0": {"node": up()}}),
            agent.beat(),
            agent.beat("wrong"),
            api.call("GET", LIST, headers=reader),
            api.call("GET", f"{LIST}&filter=Nothing", headers=reader),
            api.call("GET", "/v1/plugin/csi/ebs0?pretty", headers=owner),
            api.call("GET", "/v1/plugin/csi/none", headers=owner),
            api.call("GET", f"{LIST}&index=1", headers=reader),
            api.call("PUT", f"/v1/node/{node}", b"x" * 20_000, headers=reader),
            api.call("PUT", f"/v1/node/{node}/heartbeat", b" " * 20_000, headers=owner),
            api.call("GET", "/nowhere"),
            api.call("POST", LIST),
            api.call("GET", "/"),
            api.call("GET", "//v1/plugins"),
        ]
        metrics = api.call("GET", "/v1/metrics?format=prometheus", headers=owner).text
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        del line["time"], line["duration_ms"]
    del lines[-1]  # the line of the metrics request
    assert [line["status"] for line in lines] == [each.status for each in answers]
    counters = re.findall("^plugind_http_requests_total.*", metrics, re.M)
    return lines, sorted(counters)


@pytest.mark.parametrize("kind", ASGI)
def test_requests_are_logged_and_counted_alike(tmp_path: Path, kind: str) -> None:
    made = gate(tmp_path, "plugin-read")
    lines, counters = _noted(tmp_path / "one", made, kind)
    expected_lines, expected_counters = _noted(tmp_path / "two", made, WAITRESS)
    assert lines == expected_lines
    assert counters == expected_counters
    assert len(counters) >= 10


def test_a_server_of_an_unknown_kind(tmp_path: Path) -> None:
    services = Services(*load(tmp_path, "", {"server_enabled": "true"}), tmp_path)
    try:
        with (
            socket.socket() as sock,
            pytest.raises(PlugindError, match="'apache': there are waitress, granian, uvicorn"),
        ):
            front("apache", services, sock, "127.0.0.1:4646")
    finally:
        services.close()


class Brief(Embedded):
    """A server that ends by itself once it has started."""

    async def _serve(self) -> None:
        await self._begun()

    def _end(self, grace: float) -> None:
        raise AssertionError


def test_a_server_that_ends_by_itself_counts_as_dead() -> None:
    made = Brief(MagicMock(tasks=MagicMock(threads=[])), "brief")
    made.start()
    eventually(lambda: made.threads[0].is_dead)
    made.stop()
