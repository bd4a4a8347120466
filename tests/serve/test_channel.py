"""The rules for one connection, each tested with raw bytes against a live server."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import requests
from waitress.channel import ClientDisconnected

from plugind.api.flask_port import RefusedHead
from plugind.serve.channel import KEPT_MAXIMUM, Channel
from plugind.serve.limits import LINGER_BYTES
from plugind.serve.request import HEADERS_MAXIMUM, Request
from plugind.serve.workers import READ_LONG
from tests.promises import PATIENCE, SOON, promised
from tests.serve.support import LARGE, bare, get, is_closed, rest, until
from tests.support import eventually


def test_pipelined_requests_are_answered_in_order() -> None:
    with bare() as server, server.connect() as sock:
        sock.sendall(b"".join(get(f"/{number}") for number in range(299)))
        sock.sendall(get("/end", "Connection: close"))
        bodies = re.findall(rb"\r\n\r\n/(\w+?)(?=HTTP|$)", rest(sock))
    assert bodies == [b"%d" % number for number in range(299)] + [b"end"]


def test_empty_lines_before_a_request_are_no_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignore empty lines (RFC 9112, section 2.2) without spending a request's time on each."""
    parsed: list[Request] = []

    def parser(*given: Any) -> Request:
        parsed.append(Request(*given))
        return parsed[-1]

    monkeypatch.setattr(Channel, "parser_class", staticmethod(parser))
    with bare() as server, server.connect() as sock:
        sock.sendall(b"\r\n" * 20_000 + get("/x", "Connection: close"))
        assert rest(sock).endswith(b"\r\n\r\n/x")
    assert len(parsed) == 1


def test_bytes_behind_a_request_in_work_are_kept_up_to_a_limit() -> None:
    with bare() as server, server.connect() as kept, server.connect() as cut:
        behind = get("/next", "Connection: close", f"X: {'y' * 40_000}")
        kept.sendall(get("/park") + behind)
        cut.sendall(get("/park"))
        eventually(lambda: server.parked == 2)
        cut.sendall(b"z" * (KEPT_MAXIMUM + 1))
        assert is_closed(cut)
        eventually(lambda: server.gone == 1)
        assert server.hits.counts["pipelining"] == 1
        server.release.set()
        assert rest(kept).endswith(b"\r\n\r\n/next")


@pytest.mark.parametrize("behind", [b"", get("/next"), get("/next") * 3])
def test_a_parked_request_ends_with_its_connection(behind: bytes) -> None:
    with bare() as server:
        with server.connect() as sock:
            sock.sendall(get("/park") + behind)
            eventually(lambda: server.parked == 1)
        eventually(lambda: server.gone == 1)


def test_a_flood_of_large_unread_answers_stops_nothing() -> None:
    """Answer others while many clients pipeline large answers and read none."""
    with bare(send_timeout=600.0, send_buffer=4096) as server, ExitStack() as clients:
        for _ in range(100):
            sock = clients.enter_context(server.connect(SO_RCVBUF=4096))
            sock.sendall(get("/large") * 100)
        eventually(lambda: server.server._http.queued.bytes >= 90 * len(LARGE) // 2)
        for _ in range(20):
            assert server.ask("/plain").endswith(b"/plain")
        assert not server.hits.counts, "none of them was cut off"
        assert server.server._http.queued.bytes <= 100 * len(LARGE), "one answer each"


def test_answers_that_wait_are_bounded_in_all() -> None:
    memory = 5 * len(LARGE)
    with bare(max_send_memory=memory, send_buffer=4096) as server, ExitStack() as clients:
        socks = [clients.enter_context(server.connect(SO_RCVBUF=4096)) for _ in range(20)]
        for sock in socks:
            sock.sendall(get("/large") * 100)
        eventually(lambda: server.hits.counts.get("max_send_memory", 0) > 0)
        eventually(lambda: server.server._http.queued.bytes <= memory)
        assert server.ask("/large").endswith(LARGE)


def test_an_answer_that_is_not_taken_ends_the_connection() -> None:
    with (
        bare(send_timeout=0.5, send_buffer=4096) as server,
        server.connect(SO_RCVBUF=4096) as sock,
    ):
        sock.sendall(get("/large") * 50)
        eventually(lambda: server.hits.counts.get("send_timeout") == 1)
        eventually(lambda: not server.channels)
        assert server.server._http.queued.bytes == 0


def test_an_answer_that_is_taken_slowly_is_sent_whole() -> None:
    with bare(send_timeout=3.0) as server, server.connect(SO_RCVBUF=4096) as sock:
        sock.sendall(get("/large", "Connection: close"))
        got = b""
        while data := sock.recv(4096):
            got += data
        assert got.endswith(LARGE)


def test_a_head_has_a_deadline_that_further_bytes_do_not_move() -> None:
    def ends() -> bool:
        try:
            return sock.recv(1) == b""
        except TimeoutError:
            with suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(b"X")
        except ConnectionResetError:
            return True
        return False

    with bare(head_timeout=1.0) as server, server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        sock.settimeout(0.1)
        eventually(ends)
    assert server.hits.counts == {"head_timeout": 1}


def test_a_body_has_a_deadline() -> None:
    with bare(body_timeout=0.5) as server, server.connect() as sock, promised(SOON):
        sock.sendall(b"PUT /echo HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc")
        assert is_closed(sock)
    assert server.hits.counts == {"body_timeout": 1}


def test_an_idle_connection_is_closed_and_one_in_work_is_not() -> None:
    with bare(idle_timeout=2.0) as server, server.connect() as idle, server.connect() as busy:
        busy.sendall(get("/park"))
        idle.sendall(get("/x"))
        assert until(idle, b"/x").endswith(b"/x")
        assert is_closed(idle)
        assert server.hits.counts == {"idle_timeout": 1}
        server.release.set()
        assert until(busy, b"/park").endswith(b"/park")


def refuse(environ: dict[str, Any]) -> int | RefusedHead:
    if environ.get("HTTP_X_NOMAD_TOKEN") == "good":
        return 100_000
    return "403 Forbidden", [("X-Why", "token")], b"Permission denied"


def test_a_client_may_send_its_body_only_once_its_token_is_known() -> None:
    head = (
        "PUT /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n"
    )
    with bare(check_head=refuse) as server:
        with server.connect() as sock:
            sock.sendall(f"{head}X-Nomad-Token: bad\r\n\r\n".encode())
            answer = rest(sock)
        assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
        assert answer.endswith(b"\r\n\r\nPermission denied")
        assert b"X-Why: token\r\n" in answer
        assert server.refused == [], "the application has logged it"
        with server.connect() as sock:
            sock.sendall(f"{head}X-Nomad-Token: good\r\n\r\n".encode())
            assert sock.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            sock.sendall(b"12345")
            assert rest(sock).endswith(b"\r\n\r\n5")


@pytest.mark.parametrize("size", [20_000, 2**20, LINGER_BYTES - 2**20])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_refused_client_that_sends_on_sees_the_refusal(size: int, chunked: bool) -> None:
    body = b"x" * size
    with bare(check_head=refuse) as server:
        url = f"http://127.0.0.1:{server.port}/echo"
        data = (body[at : at + 2**16] for at in range(0, size, 2**16)) if chunked else body
        answer = requests.put(url, data=data, timeout=PATIENCE)
        assert (answer.status_code, answer.text) == (403, "Permission denied")


@pytest.mark.parametrize("size", [100_000, 100_001, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_may_have_what_its_endpoint_takes(size: int, chunked: bool) -> None:
    body = b"x" * size
    with bare(check_head=refuse) as server:
        data = (body[at : at + 2**16] for at in range(0, size, 2**16)) if chunked else body
        answer = requests.put(
            f"http://127.0.0.1:{server.port}/echo",
            data=data,
            headers={"X-Nomad-Token": "good"},
            timeout=PATIENCE,
        )
        if size <= 100_000:
            assert (answer.status_code, answer.text) == (200, str(size))
        else:
            assert answer.status_code == 413
            assert answer.text == "the body is larger than 100000 bytes"


def test_large_bodies_wait_for_memory_and_small_ones_do_not() -> None:
    with bare(max_body_memory=150_000) as server, ExitStack() as clients:
        head = b"PUT /echo HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        first, second, small = (clients.enter_context(server.connect()) for _ in range(3))
        first.sendall(head % 100_000 + b"x" * 99_999)
        eventually(lambda: server.server._http.bodies.bytes == 100_000)
        second.sendall(head % 90_000 + b"x" * 90_000)
        small.sendall(head % 60_000 + b"x" * 60_000)
        assert rest(small).endswith(b"60000")
        second.settimeout(0.2)
        with pytest.raises(TimeoutError):
            second.recv(1)
        second.settimeout(PATIENCE)
        first.sendall(b"x")
        assert rest(first).endswith(b"100000")
        assert rest(second).endswith(b"90000")
        eventually(lambda: server.server._http.bodies.bytes == 0)


def test_a_body_that_waited_for_memory_goes_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resume without waiting for the loop's next look at all connections."""
    monkeypatch.setattr("plugind.serve.http_server._TICK", 10_000.0)
    with bare(max_body_memory=150_000) as server, ExitStack() as clients:
        head = b"PUT %b HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
        first, second = (clients.enter_context(server.connect()) for _ in range(2))
        first.sendall(head % (b"/busy", 100_000) + b"x" * 100_000)
        second.sendall(head % (b"/echo", 90_000) + b"x" * 90_000)
        eventually(
            lambda: any(each.request and each.request.waits_for_room for each in server.channels)
        )
        time.sleep(10 * READ_LONG)  # by then the loop waits for longer than READ_LONG
        server.release.set()
        assert until(first, b"/busy").endswith(b"/busy")
        assert until(second, b"90000").endswith(b"90000")


def test_a_request_of_two_lengths_is_the_last_of_its_connection() -> None:
    with bare() as server, server.connect() as sock:
        sock.sendall(
            b"PUT /echo HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5\r\n12345\r\n0\r\n\r\n" + get("/smuggled")
        )
        answer = rest(sock)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.endswith(b"\r\n\r\n5")
    assert b"Connection: close\r\n" in answer


@pytest.mark.parametrize("number", [HEADERS_MAXIMUM, HEADERS_MAXIMUM + 1])
def test_the_headers_of_a_head_are_bounded(number: int) -> None:
    with bare() as server, server.connect() as sock:
        headers = [f"X{each}: y" for each in range(number - 1)]
        sock.sendall(get("/x", "Connection: close", *headers))
        wanted = b"200 OK" if number == HEADERS_MAXIMUM else b"431 Request Header"
        assert rest(sock).startswith(b"HTTP/1.1 " + wanted) or wanted.startswith(b"431")


@pytest.mark.parametrize(("size", "status"), [(1, b"400 "), (20, b"200 ")])
def test_a_body_of_tiny_chunks_is_refused_soon(size: int, status: bytes) -> None:
    """Refuse a body of tiny chunks, because each chunk costs the loop time."""
    with bare() as server, server.connect() as sock, promised(SOON):
        sock.sendall(b"PUT /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"%x\r\n%s\r\n" % (size, b"x" * size)
        sock.sendall(chunk * 5000 + b"0\r\n\r\n")
        assert (
            until(sock, b"%d" % (5000 * size) if size > 1 else b"small")
            .split(b" ", 1)[1]
            .startswith(status)
        )


def test_a_trailer_without_end_is_refused() -> None:
    with bare() as server, server.connect() as sock:
        sock.sendall(b"PUT /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        sock.sendall(b"X: y\r\n" * 2000)
        assert b" 400 Bad Request\r\n" in until(sock, b"small")


def test_a_length_that_its_version_does_not_have_ends_the_connection() -> None:
    with bare() as server, server.connect() as sock:
        sock.sendall(
            b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
            + get("/smuggled")
        )
        assert rest(sock).count(b"HTTP/1.") == 1


def test_large_bodies_one_after_the_other_each_get_memory() -> None:
    """Reserve and release the memory of each request separately, and once only."""
    body = b"PUT /echo HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    with bare(max_body_memory=150_000) as server, ExitStack() as clients:
        socks = [clients.enter_context(server.connect()) for _ in range(6)]
        for _ in range(20):
            for sock in socks:
                sock.sendall(body)
            for sock in socks:
                assert until(sock, b"\r\n\r\n100000").endswith(b"\r\n\r\n100000")
        eventually(lambda: server.server._http.bodies.bytes == 0)
        eventually(lambda: server.server._http.received.bytes == 0)


def test_a_body_in_work_keeps_its_memory_after_its_client_has_left() -> None:
    head = b"PUT /park HTTP/1.1\r\nContent-Length: 100000\r\n\r\n"
    with bare(max_body_memory=150_000) as server:
        server.stays = True
        with server.connect() as sock:
            sock.sendall(head + b"x" * 100_000)
            eventually(lambda: server.parked == 1)
        eventually(lambda: not server.channels)
        assert server.server._http.bodies.bytes == 100_000
        server.release.set()
        eventually(lambda: server.server._http.bodies.bytes == 0)


def test_received_bytes_are_bounded_in_all() -> None:
    """Close clients whose heads never end once they have sent much, and not before."""
    with bare(max_receive_memory=500_000) as server, ExitStack() as clients:
        small = clients.enter_context(server.connect())
        small.sendall(b"GET /small HTTP/1.1\r\n")
        for _ in range(30):
            sock = clients.enter_context(server.connect())
            sock.sendall(b"GET /x HTTP/1.1\r\nX: " + b"y" * 40_000)
        eventually(lambda: server.hits.counts.get("max_receive_memory", 0) >= 15)
        assert server.server._http.received.bytes <= 500_000 + 40_100
        small.sendall(b"Connection: close\r\n\r\n")
        assert rest(small).endswith(b"/small")
    assert server.server._http.received.bytes == 0


def test_a_client_that_leaves_while_its_bad_head_is_refused_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def leave(self: Channel, data: bytes) -> int:
        raise ClientDisconnected

    monkeypatch.setattr(Channel, "write_soon", leave)
    with bare() as server, server.connect() as sock:
        sock.sendall(b"no head at all\r\n\r\n")
        assert is_closed(sock)
        eventually(lambda: not server.channels)
    assert not caplog.records
