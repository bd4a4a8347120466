"""Client certificates, which nginx requires as docs/exposing.md shows.

The servers that refuse a certificate during the handshake are small ones made with Python's ssl.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from plugind.agent.identity import Identity
from plugind.agent.report.reporter import Reporter
from plugind.client import Client, Tls
from plugind.errors import ClientError, Unreachable
from tests.certificates import Pair, certificate
from tests.nginx import CLIENT_CERTIFICATES, LOG, nginx
from tests.processes import Machine, counts, machine
from tests.promises import PATIENCE
from tests.support import eventually
from tests.test_cli import plugind

NODE = Identity("7f1e4c26-3ad8-4a01-9a2b-5c8f26b9d1aa", "the node's secret", -1)
REQUIRED = (
    "it requires a client certificate: set cert_file and key_file in an agent's block client, or "
    "give a command --client-cert and --client-key"
)
NOT_ACCEPTED = "it does not accept the client certificate"


@dataclass
class Proxy:
    """nginx that requires certificates of an authority: "member" has one, "other" one of another
    authority."""

    address: str
    folder: Path
    machine: Machine
    server: Client
    authority: Pair
    member: Pair
    other: Pair

    def tls(self, pair: Pair | None) -> Tls:
        ca_file = self.folder / "plugind.crt"
        return Tls(ca_file, pair.cert, pair.key) if pair else Tls(ca_file)

    def subjects(self) -> list[str]:
        """Return the subjects of certificates in nginx's log, in the order of requests."""
        lines = (self.folder / LOG).read_text().splitlines()
        return [line.split()[0] for line in lines]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    authority = certificate(folder, "clients-ca")
    member = certificate(folder, "member", authority=authority)
    other = certificate(folder, "other", authority=certificate(folder, "other-ca"))
    with machine(folder) as here:
        _, server = here.server(server_heartbeat_ttl="3s")
        with nginx(folder, server.address, extra=CLIENT_CERTIFICATES) as address:
            yield Proxy(address, folder, here, server, authority, member, other)


def test_an_agent_with_a_certificate_reports_and_takes_a_renewed_one(proxy: Proxy) -> None:
    here = proxy.machine
    used = certificate(proxy.folder, "used", authority=proxy.authority, subject="first")
    driver = here.driver("vm/ebs0.sock")
    agent = here.agent(
        "vm",
        proxy.address,
        client_ca_file=str(proxy.folder / "plugind.crt"),
        client_cert_file=str(used.cert),
        client_key_file=str(used.key),
    )
    eventually(lambda: counts(proxy.server, "ebs0") == (1, 1, 1, 1))
    eventually(lambda: proxy.subjects()[-1:] == ["CN=first"])  # nginx logs what it has answered
    renewed = certificate(proxy.folder, "renewed", authority=proxy.authority, subject="second")
    os.replace(renewed.key, used.key)
    os.replace(renewed.cert, used.cert)
    eventually(lambda: proxy.subjects()[-1:] == ["CN=second"])
    assert [agent.stop(), driver.stop()] == [0, 0]


def test_an_agent_without_a_certificate_logs_one_line(proxy: Proxy) -> None:
    agent = proxy.machine.agent(
        "bare", proxy.address, client_ca_file=str(proxy.folder / "plugind.crt")
    )
    eventually(lambda: "no server accepts reports" in agent.logged)
    (line,) = [each for each in agent.logged.splitlines() if "no server accepts" in each]
    assert f"no answer from {proxy.address}: {REQUIRED}" in line
    assert agent.stop() == 0


@pytest.mark.parametrize(("who", "reason"), [("", REQUIRED), ("other", NOT_ACCEPTED)])
def test_health_says_why_an_agent_is_not_let_in(proxy: Proxy, who: str, reason: str) -> None:
    tls = proxy.tls(proxy.other if who else None)
    reporter = Reporter(NODE, [proxy.address], None, tls, build=dict)
    reporter.start()
    try:
        text = f"no answer from {proxy.address}: {reason}"
        eventually(lambda: reporter.health()[1].endswith(f": {text}"))
        assert not reporter.health()[0]
    finally:
        reporter.stop(PATIENCE)


def test_a_copy_of_a_client_has_the_certificate(proxy: Proxy) -> None:
    client = Client(proxy.address, tls=proxy.tls(proxy.member))
    with client, closing(client.copy()) as copy:
        assert copy.nodes().index


def test_files_that_go_bad_are_named_and_may_come_back(proxy: Proxy) -> None:
    pair = certificate(proxy.folder, "changing", authority=proxy.authority)
    with Client(proxy.address, tls=proxy.tls(pair)) as client:
        assert client.nodes().index
        client.close()
        away = pair.key.rename(proxy.folder / "away.key")
        for content, reason in (
            (None, "cannot be read: No such file or directory"),
            (proxy.other.key.read_text(), f"is not the key of the certificate in {pair.cert}"),
            ("nonsense", "has no private key in PEM form"),
        ):
            if content is not None:
                pair.key.write_text(content)
            with pytest.raises(Unreachable) as caught:
                client.nodes()
            assert str(caught.value) == (
                f"no connection to {proxy.address}: key_file {pair.key} {reason}"
            )
        away.rename(pair.key)
        assert client.nodes().index


def test_a_command_shows_its_certificate(proxy: Proxy) -> None:
    member, other = proxy.member, proxy.other
    variables = {"PLUGIND_ADDR": proxy.address, "NOMAD_CACERT": str(proxy.folder / "plugind.crt")}
    options = ("--client-cert", member.cert, "--client-key", member.key)
    done = plugind("node", "status", *options, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    eventually(lambda: proxy.subjects()[-1:] == ["CN=member"])

    def pair(of: Pair) -> dict[str, str]:
        return {**variables, "NOMAD_CLIENT_CERT": str(of.cert), "NOMAD_CLIENT_KEY": str(of.key)}

    assert plugind("node", "status", **pair(member)).returncode == 0
    assert plugind("node", "status", *options, **pair(other)).returncode == 0, "options win"
    for environ, reason in ((variables, REQUIRED), (pair(other), NOT_ACCEPTED)):
        done = plugind("node", "status", **environ)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"Error: no answer from {proxy.address}: {reason}\n"


def test_a_command_refuses_half_a_pair_and_keys_that_others_may_read(proxy: Proxy) -> None:
    cert, key = proxy.member.cert, proxy.member.key
    lacking = "is given without --client-{0} (NOMAD_CLIENT_{1})"
    for words, environ, reason in (
        (("--client-cert", cert), {}, lacking.format("key", "KEY")),
        ((), {"NOMAD_CLIENT_KEY": str(key)}, lacking.format("cert", "CERT")),
    ):
        done = plugind("node", "status", *words, address=proxy.address, **environ)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("Error: a client certificate needs its key: ")
        assert done.stderr.endswith(f"{reason}\n")
    public = proxy.folder / "public.key"
    public.write_bytes(key.read_bytes())
    public.chmod(0o644)
    options = ("--client-cert", cert, "--client-key", public)
    done = plugind("node", "status", *options, address=proxy.address)
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: --client-key {public} is open to other users: chmod o=,g-w {public}\n"
    )


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return certificate(tmp_path, "agent")


def test_an_encrypted_key_is_refused_without_a_question(pair: Pair) -> None:
    assert Tls(None, pair.cert, pair.key).why_unusable() == ""
    pair.encrypt()
    with pytest.raises(ClientError) as caught:
        Client("https://127.0.0.1:1", tls=Tls(None, pair.cert, pair.key))
    assert str(caught.value) == (
        f"key_file {pair.key} is encrypted, and nothing can ask for its passphrase: store it "
        "without one, readable by its user only"
    )


def test_an_encrypted_key_of_the_older_form_is_refused_too(pair: Pair) -> None:
    # Its headers are enough: the passphrase is asked for before the key is decrypted.
    lines = pair.key.read_text().replace("BEGIN PRIVATE", "BEGIN EC PRIVATE")
    lines = lines.replace("END PRIVATE", "END EC PRIVATE")
    first, _, rest = lines.partition("\n")
    head = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\n"
    pair.key.write_text(f"{first}\n{head}{rest}")
    assert "is encrypted" in Tls(None, pair.cert, pair.key).why_unusable()


def test_files_that_are_none(pair: Pair, tmp_path: Path) -> None:
    good = Tls(None, pair.cert, pair.key)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for tls, reason in (
        (Tls(None, pair.cert), f"cert_file {pair.cert} needs key_file beside it"),
        (Tls(None, None, pair.key), f"key_file {pair.key} needs cert_file beside it"),
        (replace(good, cert_file=pair.key), f"cert_file {pair.key} has no certificates in PEM"),
        (replace(good, cert_file=tmp_path), f"cert_file {tmp_path} is not a regular file"),
        (replace(good, key_file=pair.cert), f"key_file {pair.cert} has no private key in PEM"),
        (replace(good, key_file=pipe), f"key_file {pipe} is not a regular file"),
        (replace(good, ca_file=pair.key), f"ca_file {pair.key} has no certificates in PEM"),
    ):
        assert tls.why_unusable().startswith(reason)
    text = pair.key.read_text().splitlines()
    pair.key.write_text("\n".join([text[0], "AAAA", text[-1]]))
    damaged = good.why_unusable()
    assert damaged.startswith(f"key_file {pair.key} cannot be used with {pair.cert}: ")


@contextmanager
def strict_server(shown: Pair, accepted: Path) -> Iterator[str]:
    """Answer one handshake, requiring a certificate of ``accepted``; yield the address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.cert, shown.key)
    context.load_verify_locations(accepted)
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def shake() -> None:
            connection, _ = plain.accept()
            with connection:
                connection.settimeout(PATIENCE)
                _refuse(connection, context)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):  # read all, or a reset might overtake the alert
                    pass

        thread = threading.Thread(target=shake)
        thread.start()
        yield f"https://127.0.0.1:{plain.getsockname()[1]}"
        thread.join(PATIENCE)


def _refuse(connection: socket.socket, context: ssl.SSLContext) -> None:
    """Run the handshake until the client's certificate is rejected, and send the alert."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_side=True)
    while True:
        try:
            session.do_handshake()
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
            incoming.write(connection.recv(1 << 16))
        except ssl.SSLError:
            connection.sendall(outgoing.read())
            return


@pytest.mark.parametrize(
    ("has_one", "reason"), [(False, REQUIRED), (True, f"{NOT_ACCEPTED} (unknown ca)")]
)
def test_a_handshake_that_ends_for_a_certificate(
    tmp_path: Path, pair: Pair, has_one: bool, reason: str
) -> None:
    shown = certificate(tmp_path, "server", "-addext", "subjectAltName=IP:127.0.0.1")
    tls = Tls(shown.cert, pair.cert, pair.key) if has_one else Tls(shown.cert)
    with strict_server(shown, shown.cert) as address, Client(address, tls=tls) as client:
        with pytest.raises(Unreachable) as caught:
            client.health()
        assert str(caught.value) == f"no answer from {address}: {reason}"
