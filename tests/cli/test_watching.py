"""``--watch`` stays accurate, survives proxies and restarts, and ends without a message."""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.cli.terminal import Terminal
from tests.processes import PLUGIND
from tests.promises import PATIENCE
from tests.support import FakeAgent, Live, down, eventually, up

AGE = re.compile(r"\((\d+)s ago\)")
PAGE = b"<html><head><title>502 Bad Gateway</title></head></html>"


@pytest.fixture
def wire() -> str:
    return "nomad"


class Proxy:
    """A reverse proxy in front of a server, which can also answer by itself, as real proxies do."""

    def __init__(self, server: str) -> None:
        self.broken: tuple[int, bytes] | None = None
        self.waits: list[str] = []
        self.refused = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                proxy.waits += query.get("wait", [])
                with suppress(ConnectionError, requests.ConnectionError):  # one of them has ended
                    self.hand_on(requests.get(server + self.path, timeout=90))

            def hand_on(self, got: requests.Response) -> None:
                status, content, headers = got.status_code, got.content, dict(got.headers)
                if proxy.broken:
                    proxy.refused += 1
                    status, content = proxy.broken
                    kind = "text/html" if content.startswith(b"<") else "text/plain"
                    headers = {"Content-Type": kind}
                self.send_response(status)
                for name in ("Content-Type", "X-Nomad-Index"):
                    if name in headers:
                        self.send_header(name, headers[name])
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def proxy(api: Live) -> Iterator[Proxy]:
    made = Proxy(api.address)
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@contextmanager
def watching(address: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [PLUGIND, "plugin", "status", *words, "--watch", "--address", address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("words", [(), ("ebs0",), ("ebs0", "--json")])
def test_an_interrupt_ends_it_without_a_message(api: Live, words: tuple[str, ...]) -> None:
    FakeAgent(api).report({"ebs0": {"node": down()}})
    with watching(api.address, *words) as process:
        assert process.stdout is not None
        assert any("ebs0" in line for line in iter(process.stdout.readline, ""))
        eventually(lambda: api.services.catalogue.parked >= 1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err) == (130, "")


def test_an_interrupt_ends_it_without_a_message_on_a_terminal(api: Live) -> None:
    FakeAgent(api).report({"ebs0": {"node": down()}})
    words = ("plugin", "status", "--watch")
    with Terminal(*words[:2], columns=80, address=api.address) as terminal:
        assert terminal.end() == 0
        shown = _without_ages(terminal.screen)
    with Terminal(*words, columns=80, address=api.address) as terminal:
        eventually(lambda: _without_ages(terminal.screen) == shown)
        assert terminal.interrupt() == 130
        assert _without_ages(terminal.screen) == shown


def _without_ages(screen: str) -> list[str]:
    """Return the words of a screen that do not change as time passes."""
    return AGE.sub("", screen).split()


def test_ages_are_refreshed_on_a_terminal(api: Live) -> None:
    FakeAgent(api).report({"ebs0": {"node": down()}})
    words = ("plugin", "status", "--watch")
    with Terminal(*words, columns=80, address=api.address) as terminal:
        ages = eventually(lambda: AGE.findall(terminal.screen))
        eventually(lambda: AGE.findall(terminal.screen) not in ([], ages))


def test_elsewhere_only_changes_are_printed(api: Live) -> None:
    agent = FakeAgent(api)
    agent.report({"ebs0": {"node": down("first")}})
    with watching(api.address) as process:
        assert process.stdout is not None
        assert any("first" in line for line in iter(process.stdout.readline, ""))
        eventually(lambda: api.services.catalogue.parked == 3)
        agent.report({"ebs0": {"node": down("second")}})
        assert any("second" in line for line in iter(process.stdout.readline, ""))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ((502, PAGE), "502"),
        ((503, PAGE), "503"),
        ((504, PAGE), "504"),
        ((200, b"<html>please log in</html>"), "trying again"),
    ],
)
def test_a_proxy_without_a_server_is_waited_for(
    api: Live, proxy: Proxy, broken: tuple[int, bytes], message: str
) -> None:
    agent = FakeAgent(api)
    agent.report({"ebs0": {"node": up()}})
    with watching(proxy.address, "ebs0", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["NodesHealthy"] == 1
        eventually(lambda: api.services.catalogue.parked == 1)
        proxy.broken = broken
        agent.report({"ebs0": {"node": down()}})
        away = process.stderr.readline()
        assert message in away
        assert away.endswith("; trying again\n")
        assert "<" not in away
        eventually(lambda: proxy.refused >= 3)
        proxy.broken = None
        assert json.loads(process.stdout.readline())["NodesHealthy"] == 0
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=PATIENCE) == ("", ""), (
            "the server that is away was reported once"
        )


def test_a_proxy_that_breaks_while_details_are_read_is_waited_for(api: Live, proxy: Proxy) -> None:
    """Retry after a failure of the later queries, for reasons and node names, as well."""
    agent = FakeAgent(api)
    agent.report({"ebs0": {"node": up()}})
    words = ("plugin", "status", "--watch", "--type", "csi")
    with Terminal(*words, columns=80, address=proxy.address) as terminal:
        # Errors end the command until it has shown something.
        eventually(lambda: "ebs0" in terminal.screen)
        eventually(lambda: api.services.catalogue.parked == 1)
        proxy.broken = (502, PAGE)
        numbers = itertools.count()

        def away() -> str:
            agent.report({"ebs0": {"node": down(f"reason {next(numbers)}")}})
            screen = terminal.screen  # the next look may find one that is half printed
            return screen if "trying again" in screen else ""

        screen = eventually(away, every=0.5)
        assert "<" not in screen
        assert "ebs0" in screen, "what was known last is still shown"
        proxy.broken = None
        agent.report({"ebs0": {"node": down()}})
        eventually(lambda: "disk on fire" in terminal.screen)
        agent.report({"ebs0": {"node": down("the next screen")}})
        screen = eventually(lambda: terminal.screen_with("disk on fire"))
        assert "trying again" not in screen


def test_it_asks_for_no_longer_than_proxies_wait(api: Live, proxy: Proxy) -> None:
    FakeAgent(api).report({"ebs0": {"node": up()}})
    with watching(proxy.address):
        waits = eventually(lambda: proxy.waits if len(proxy.waits) >= 3 else None)
    assert set(waits) == {"50s"}


def test_too_many_parked_queries_are_no_reason_to_end(api: Live, proxy: Proxy) -> None:
    agent = FakeAgent(api)
    agent.report({"ebs0": {"node": up()}})
    with watching(proxy.address, "ebs0", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        eventually(lambda: api.services.catalogue.parked == 1)
        proxy.broken = (429, b"too many queries wait\n")
        agent.report({"ebs0": {"node": down()}})
        assert "too many queries wait; trying again" in process.stderr.readline()
        proxy.broken = None
        assert json.loads(process.stdout.readline())["NodesHealthy"] == 0


def test_a_token_that_is_revoked_ends_it(api: Live, proxy: Proxy) -> None:
    agent = FakeAgent(api)
    agent.report({"ebs0": {"node": up()}})
    with watching(proxy.address, "ebs0", "--json") as process:
        assert process.stdout is not None
        process.stdout.readline()
        eventually(lambda: api.services.catalogue.parked == 1)
        proxy.broken = (403, b"Permission denied\n")
        agent.report({"ebs0": {"node": down()}})
        _, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err) == (1, "Error: Permission denied\n")


def test_an_interrupt_ends_other_commands_without_a_message_too() -> None:
    """End a command that waits for a slow server when it is interrupted."""
    hold = threading.Event()
    asked = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.set()
            hold.wait(PATIENCE)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        process = subprocess.Popen(
            [PLUGIND, "node", "status", "--address", f"http://127.0.0.1:{server.server_port}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert asked.wait(PATIENCE)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=PATIENCE) == ("", "")
        assert process.returncode == 130
        hold.set()
        server.shutdown()
        thread.join()
