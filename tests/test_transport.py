"""How the client reaches a server: proxies, credentials, and other programs that answer instead."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from plugind.client import Client, transport
from plugind.errors import Refused, StoreError, Unreachable
from tests.hostile_texts import HOSTILE, unsafe
from tests.promises import COMMAND_MAXIMUM, PATIENCE
from tests.support import FakeAgent, Live, eventually, needs, serving, up
from tests.test_cli import plugind

FAR = "http://plugind.example:4646"
PAGE = b"<html><body><h1>502 Bad Gateway</h1><script>x</script></body></html>"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
BUNDLES = ("requests_ca_bundle", "curl_ca_bundle")


def answer(status: str, body: bytes = b"", kind: str = "text/plain") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nContent-Type: {kind}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


class Between:
    """A listener in place of a server or proxy, which always gives the same answer."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.heads: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                head = b""
                while not _is_whole(head) and (part := connection.recv(4096)):
                    head += part
                self.heads.append(head.decode(errors="replace"))
                connection.sendall(self._reply)


def _is_whole(head: bytes) -> bool:
    """Return whether a request's head is complete, or never will be (a TLS handshake)."""
    return b"\r\n\r\n" in head or head.startswith(b"\x16")


@contextmanager
def between(reply: bytes) -> Iterator[Between]:
    with closing(Between(reply)) as made:
        yield made


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *BUNDLES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Live]:
    with serving(tmp_path, live=True) as served:
        assert isinstance(served, Live)
        yield served


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("localhost.", True),
        ("plugind.localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", True),
        ("::", True),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("", False),
    ],
)
def test_hosts_that_mean_this_machine(host: str, is_local: bool) -> None:
    assert transport.is_loopback(host) == is_local


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_proxy_stands_before_this_machine(
    api: Live, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    with between(answer("502 Bad Gateway")) as proxy:
        for name in VARIABLES[:3]:
            monkeypatch.setenv(name, proxy.address)
        address = api.address.replace("127.0.0.1", host)
        with Client(address) as client, client.copy() as other:
            assert client.health().value["server"]["ok"]
            assert other.health().value["server"]["ok"]
        assert not proxy.heads


def test_other_hosts_are_reached_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"server":{"ok":true,"message":"ok"}}'
    with between(answer("200 OK", body, "application/json")) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:hunter2@127.0.0.1:{proxy.port}")
        with Client(FAR, token="a-token") as client:
            assert client.health().value["server"]["ok"]
        assert proxy.heads[0].startswith(f"GET {FAR}/v1/agent/health HTTP/1.1\r\n")
        monkeypatch.setenv("no_proxy", "plugind.example")
        assert transport.proxies_for(FAR) == {}
        assert transport.proxies_for("http://other.example:4646")["http"].endswith(str(proxy.port))


def test_the_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with between(answer("502 Bad Gateway")) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:hunter2@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("https_proxy", f"http://user:hunter2@127.0.0.1:{proxy.port}")
        for address in (FAR, FAR.replace("http:", "https:")):
            with Client(address) as client, pytest.raises(Unreachable) as caught:
                client.health()
            assert str(caught.value) == (
                f"no answer from {address} through the proxy {proxy.address}: a proxy answered "
                "502; is that the right address, and is the server running?"
            )
    with Client(FAR) as client, pytest.raises(Unreachable) as caught:
        client.health()
    assert f"through the proxy {proxy.address}: connection refused" in str(caught.value)


@pytest.mark.parametrize(
    ("proxy", "name"),
    [
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("http://proxy.example/", "http://proxy.example"),
        ("https://user:pass@word@proxy.example:3128/x", "https://proxy.example:3128"),
        ("user:hunter2@proxy.example:3128", "http://proxy.example:3128"),
        ("http://me:hunter2@[::1]:3128", "http://[::1]:3128"),
        ("http://me:hunter2@[", "http://["),
        ("http://\x1b[31mproxy", "http://\\x1b[31mproxy"),
        ("", ""),
    ],
)
def test_names_of_proxies(proxy: str, name: str) -> None:
    assert transport.proxy_name(FAR, {"http": proxy}) == name


@pytest.mark.parametrize("proxy", ["http://[", "http://", "socks9://me:hunter2@x"])
def test_a_proxy_that_cannot_be_used_is_one_line(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with Client(FAR) as client, pytest.raises(Unreachable) as caught:
        client.health()
    assert str(caught.value).startswith(f"no answer from {FAR} through the proxy ")
    assert "hunter2" not in str(caught.value)


def test_no_credentials_of_netrc_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login me password hunter2\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with between(answer("200 OK", b"{}", "application/json")) as server:
        for token in ("", "a-token"):
            with Client(server.address, token=token) as client:
                client.health()
        for head in server.heads:
            assert "authorization" not in head.lower()


def test_a_bundle_of_certificates_in_the_environment_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert transport.trusted_certificates(None) is True
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/a/bundle.pem")
    assert transport.trusted_certificates(None) == "/a/bundle.pem"
    assert transport.trusted_certificates("/another.pem") == "/another.pem"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        ("502 Bad Gateway", PAGE, "text/html"),
        ("502 Bad Gateway", b"", "text/plain"),
        ("503 Service Unavailable", PAGE, "text/html"),
        ("503 Service Unavailable", b"no healthy upstream", "text/plain"),
        ("504 Gateway Timeout", b"upstream request timeout", "text/plain"),
        ("407 Proxy Authentication Required", b"", "text/plain"),
        ("500 Internal Server Error", PAGE, "text/html; charset=utf-8"),
        ("403 Forbidden", PAGE, "application/octet-stream"),
    ],
)
def test_an_answer_of_a_proxy_is_one_clean_line(status: str, body: bytes, kind: str) -> None:
    with between(answer(status, body, kind)) as proxy, Client(proxy.address) as client:
        for call in (
            client.health,
            lambda: client.plugins("csi", index=7, wait=1),
            lambda: client.heartbeat("11111111-2222-4333-8444-555555555555", "s", "d"),
        ):
            with pytest.raises(Unreachable) as caught:
                call()
            assert str(caught.value) == (
                f"no answer from {proxy.address}: a proxy answered {status[:3]}; "
                "is that the right address, and is the server running?"
            )


def test_a_command_shows_no_page_of_a_proxy() -> None:
    with between(answer("502 Bad Gateway", PAGE, "text/html")) as proxy:
        done = plugind("plugin", "status", address=proxy.address)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: no answer from {proxy.address}: a proxy answered 502; ")
    assert done.stderr.count("\n") == 1


def test_a_page_that_is_not_there_is_no_text_of_a_server() -> None:
    page = answer("404 Not Found", PAGE, "text/html")
    with between(page) as server, Client(server.address) as client:
        with pytest.raises(Refused) as caught:
            client.plugin("csi", "x")
        assert (caught.value.status, str(caught.value)) == (404, "Not Found")


def test_a_page_where_json_should_be_is_no_answer() -> None:
    with (
        between(answer("200 OK", PAGE, "text/html")) as portal,
        Client(portal.address) as client,
        pytest.raises(Unreachable, match="did not answer as a plugind does"),
    ):
        client.health()


def test_a_servers_own_503_is_its_answer(api: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(changes: object) -> None:
        raise StoreError("the disk is full")

    agent = FakeAgent(api)
    agent.report({"nfs": {"node": up()}})
    monkeypatch.setattr(api.services.store, "commit", full)
    report = {"Name": "vm2", "Plugins": {}}
    with Client(api.address) as client, pytest.raises(Refused) as caught:
        client.report(agent.node_id, agent.secret, report)
    assert caught.value.status == 503
    assert "the disk is full" in str(caught.value)


def test_a_503_of_the_http_server_itself_is_its_answer(tmp_path: Path) -> None:
    """Report a 503 at the limit of connections, when none may be closed, as an answer."""
    config = 'server { trusted_proxies = ["127.0.0.0/8"] }'
    with (
        ExitStack() as connections,
        serving(tmp_path, live=True, config=config, server_max_connections="16") as api,
    ):
        assert isinstance(api, Live)
        host, port = urlsplit(api.address).hostname, urlsplit(api.address).port
        for _ in range(16):
            connections.enter_context(socket.create_connection((host, port)))
        client = connections.enter_context(Client(api.address))
        eventually(lambda: _refusal(client))
        refused = _refusal(client)
        assert refused is not None
        assert (refused.status, refused.retry_after) == (503, 1)
        assert "as many connections are open as there may be" in str(refused)


def _refusal(client: Client) -> Refused | None:
    try:
        client.plugins("csi")
    except Refused as error:
        return error
    return None


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_text_of_another_server_is_made_safe(text: str) -> None:
    body = text.encode(errors="surrogatepass")
    reason = body.replace(b"\r", b"").replace(b"\n", b"")
    for reply in (answer("400 Bad Request", body), answer("400 x").replace(b"x", reason, 1)):
        with (
            between(reply) as server,
            Client(server.address) as client,
            pytest.raises((Refused, Unreachable)) as caught,
        ):
            client.health()
        assert not unsafe(str(caught.value))
        assert "\n" not in str(caught.value)


def test_https_against_a_plain_port_ends_at_once(api: Live) -> None:
    address = api.address.replace("http:", "https:")
    with Client(address, timeout=PATIENCE) as client, pytest.raises(Unreachable) as caught:
        client.health()
    assert str(caught.value) == f"{address} does not speak https; try http://"


def test_https_against_a_server_that_answers_in_plain_text() -> None:
    with between(answer("400 Bad Request", b"no")) as server:
        address = server.address.replace("http:", "https:")
        with Client(address) as client, pytest.raises(Unreachable, match="does not speak https"):
            client.health()


def test_a_certificate_that_is_not_trusted_is_another_matter(tmp_path: Path) -> None:
    needs("/usr/bin/openssl", "openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=localhost", "-days", "1", "-nodes", "-x509"]
    files = ["-keyout", key, "-out", certificate]
    command = ["/usr/bin/openssl", "req", "-newkey", "rsa:2048", *subject, *files]
    subprocess.run(command, check=True, capture_output=True, timeout=COMMAND_MAXIMUM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def shake() -> None:
            connection, _ = plain.accept()
            with connection, pytest.raises(ssl.SSLError):
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=shake)
        thread.start()
        address = f"https://127.0.0.1:{plain.getsockname()[1]}"
        with Client(address) as client, pytest.raises(Unreachable) as caught:
            client.health()
        thread.join(PATIENCE)
    assert "certificate verify failed" in str(caught.value)
    assert "does not speak" not in str(caught.value)


def test_curl_ends_at_once(api: Live) -> None:
    needs("/usr/bin/curl", "curl")
    address = api.address.replace("http:", "https:")
    command = ["/usr/bin/curl", "-sS", "-k", "--max-time", "20", f"{address}/v1/regions"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_MAXIMUM)
    assert done.returncode not in (0, 28), "28 means that the time expired"


def test_arguments_that_are_no_text_find_nothing(api: Live) -> None:
    for id_ in ("\udcff", "\ud800"):
        with Client(api.address) as client, pytest.raises(Refused) as caught:
            client.plugin("csi", id_)
        assert caught.value.status == 404
