"""Requests crafted to be slow or deep are answered or refused at once: within a tenth of a second
of the server's processor time, over a thousand rows."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from plugind.serve.limits import HEAD_MAXIMUM
from tests.promises import PATIENCE, slowness
from tests.support import Answer, Api, FakeAgent, InProcess, serving, up

LIMIT = 0.1  # seconds
LIST = "/v1/plugins?type=csi"
MOST = HEAD_MAXIMUM - 2_000  # characters of a line or header that the server takes in
HUGE = "a" * MOST
OF_FILTERS = 4000  # characters, just below the limit


def patterns(one: str) -> str:
    return " and ".join([f"ID not matches `{one}`"] * 8)[:OF_FILTERS]


FILTERS = {
    "catastrophic": "ID matches `^(p+)+$`",
    "alternatives": patterns("(p|p)*(p|pp)*y"),
    "repeats": patterns("((p{10}){10}){10}"),
    "optional": patterns("(p?){200}" + "p" * 200),
    "groups": patterns("(" * 200 + "p" + ")" * 200),
    "any then that": patterns(".*p.{400}"),
    "any then that, as much as may be": patterns(".*p.{40}"),
    "classes": patterns(r"(\pL|\pN){500}"),
    "parentheses": "(" * OF_FILTERS,
    "closed parentheses": "(" * 1900 + "ID == x" + ")" * 1900,
    "nots": "not " * 900 + "ID == x",
    "terms": " or ".join(["ID==x"] * 400),
    "as many terms as may be": " and ".join(["NodesHealthy != 5"] * 128),
    "as many looks into text": " and ".join([f"ID not contains x{n}" for n in range(128)]),
    "long texts": f'ID == "{"x" * 3900}" or Provider contains "{"y" * 60}"',
    "huge": HUGE,
    "huge, of terms": " and ".join(["ID==x"] * 2_500),
}
QUERIES = {
    "parameters": "&".join(f"p{number}=1" for number in range(5_500)),
    "names without values": "x&" * (MOST // 2),
    "the same parameter": "prefix=p&" * (MOST // 9),
    "empty parameters": "&" * MOST,
    "signs of escape": "prefix=" + "%" * MOST,
    "escaped": "prefix=" + "%70" * (MOST // 3),
    "no UTF-8": "prefix=" + "%FF" * (MOST // 3),
    "pluses": "x=" + "+" * MOST,
    **{
        f"a huge {name}": f"{name}={HUGE}"
        for name in ("prefix", "next_token", "namespace", "region", "type", "wait", "stale", "x")
    },
    "a huge number": "index=" + "9" * MOST,
    "many digits a page": "per_page=" + "9" * MOST,
    "a huge duration": "wait=" + "1h" * (MOST // 2),
    "a long name": f"{HUGE}=1",
}
HEADERS = {
    "tags": {"If-None-Match": ", ".join(f'"{number}"' for number in range(5_000))},
    "one tag": {"If-None-Match": '"' * MOST},
    "encodings": {"Accept-Encoding": ", ".join(f"x{n};q=0.5" for n in range(3_500))},
    "no encodings": {"Accept-Encoding": ";," * (MOST // 2)},
    "a token": {"X-Nomad-Token": HUGE},
    "a bearer": {"Authorization": f"Bearer {' ' * (MOST // 2)}{HUGE[: MOST // 2]}"},
    "a node's secret": {"X-Plugind-Node-Secret": HUGE},
}
PATHS = {
    "a plugin": f"/v1/plugin/csi/{HUGE}",
    "segments": "/v1" + "/a" * (MOST // 2),
    "slashes": "/v1/plugin/" + "/" * MOST,
    "a node": f"/v1/node/{HUGE}",
    "dots": "/v1/" + "../" * (MOST // 3),
}
BEYOND = {
    "parameters": "&".join(f"p{number}=1" for number in range(100_000)),
    "no UTF-8": "prefix=" + "%FF" * 100_000,
    "a huge filter": "filter=" + "ID+==+x+and+" * 10_000,
}


@pytest.fixture(scope="module")
def api(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Serve a thousand plugins, with an access log."""
    folder: Path = tmp_path_factory.mktemp("slow")
    with serving(folder, live=False, server_access_log=str(folder / "access.log")) as served:
        agent = FakeAgent(served)
        answer = agent.report(
            {f"{'p' * 100}{number}": {"node": up(Provider="p" * 100)} for number in range(1000)}
        )
        assert answer.status == 200
        served.call("GET", f"{LIST}&filter=ID+==+x")  # the first use loads and caches things
        yield served


def soon(api: Api, path: str, headers: dict[str, str] | None = None) -> Answer:
    """Return the answer; fail if the application works longer than LIMIT twice in a row.

    The time that the test's own client spends on the path is not counted.
    """
    assert isinstance(api, InProcess)
    used: list[float] = []
    application = api.app.wsgi_app

    def timed(*given: Any) -> list[bytes]:
        before = time.process_time()
        try:
            return list(application(*given))
        finally:
            used.append(time.process_time() - before)

    api.app.wsgi_app = timed
    try:
        for _ in range(2):
            answer = api.call("GET", path, None, headers)
    finally:
        api.app.wsgi_app = application
    assert min(used) < LIMIT or min(used) < LIMIT * slowness(), f"{min(used):.3f} s"
    assert answer.status < 500
    assert len(answer.body) < 1000 or answer.status == 200
    return answer


@pytest.mark.alone
@pytest.mark.parametrize("name", FILTERS)
def test_filters(api: Api, name: str) -> None:
    answer = soon(api, f"{LIST}&filter={quote(FILTERS[name])}")
    assert answer.status in (200, 400)


@pytest.mark.alone
@pytest.mark.parametrize("name", QUERIES)
def test_queries(api: Api, name: str) -> None:
    soon(api, f"{LIST}&{QUERIES[name]}")


@pytest.mark.alone
@pytest.mark.parametrize("name", HEADERS)
def test_headers(api: Api, name: str) -> None:
    soon(api, LIST, HEADERS[name])


@pytest.mark.alone
@pytest.mark.parametrize("name", PATHS)
def test_paths(api: Api, name: str) -> None:
    assert soon(api, PATHS[name]).status == 404


@pytest.mark.alone
@pytest.mark.parametrize("name", BEYOND)
def test_a_longer_request_is_refused_unread(tmp_path: Path, name: str) -> None:
    """Refuse a longer request unread; the processor time of the test's client is included."""
    with serving(tmp_path, live=True) as live:
        live.call("GET", LIST)
        where = urlsplit(live.address)
        request = f"GET {LIST}&{BEYOND[name]} HTTP/1.1\r\n".encode()[:HEAD_MAXIMUM]
        with socket.create_connection((where.hostname, where.port), timeout=PATIENCE) as sock:
            before = time.process_time()
            sock.sendall(request)
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
            used = time.process_time() - before
            assert used < LIMIT or used < LIMIT * slowness(), f"{used:.3f} s"
    assert b" 431 " in answer.partition(b"\r\n")[0]
