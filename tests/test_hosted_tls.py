"""TLS on granian and uvicorn, with the options that docs/servers.md gives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from plugind.client import Client, Tls
from plugind.errors import Unreachable
from tests.certificates import Pair, certificate
from tests.processes import Machine, counts, machine
from tests.promises import eventually
from tests.test_client_certificates import NOT_ACCEPTED, REQUIRED
from tests.test_docs import ROOT
from tests.test_hosted import ASGI, start

TEXT = (ROOT / "docs/servers.md").read_text()
ROWS = re.findall(r"^\|.*\| `(--ssl.*?)`.* \| `(.*)` \|$", TEXT, re.M)
OWN, REQUIRING = ROWS[:2], ROWS
"""The options for the server's own certificate, and those that also require client certificates."""


@dataclass
class Place:
    """A folder with the files that the options name, and the certificates of two clients. The
    servers accept the certificate of the member."""

    machine: Machine
    member: Pair
    other: Pair

    def serve(self, kind: str, rows: list[tuple[str, ...]]) -> str:
        """Start a server with the options of the given rows of the document; return its URL."""
        words = [word for row in rows for word in row[ASGI.index(kind)].split()]
        folder = self.machine.folder
        options = [str(folder / each) if "." in each else each for each in words]
        if kind == "uvicorn":  # else its end waits 30 s for TLS connections whose client has left
            options += ["--timeout-graceful-shutdown", "1"]
        process, url = start(self.machine, kind, options=options)
        url = url.replace("http:", "https:")
        with self.client(url, self.member) as client:
            eventually(lambda: process.popen.poll() is not None or _answers(client))
        assert process.popen.poll() is None, process.logged
        return url

    def client(self, url: str, pair: Pair | None) -> Client:
        ca_file = self.machine.folder / "plugind.crt"
        return Client(url, tls=Tls(ca_file, pair.cert, pair.key) if pair else Tls(ca_file))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    certificate(tmp_path, "plugind", "-addext", "subjectAltName=IP:127.0.0.1")
    # granian accepts no client certificate that could be a CA certificate.
    options = ("-addext", "basicConstraints=critical,CA:FALSE")
    authority, others = certificate(tmp_path, "clients-ca"), certificate(tmp_path, "other-ca")
    member = certificate(tmp_path, "member", *options, authority=authority)
    other = certificate(tmp_path, "other", *options, authority=others)
    with machine(tmp_path) as made:
        yield Place(made, member, other)
        for process in made.started:
            process.stop()


def _answers(client: Client) -> bool:
    with suppress(Unreachable):
        return bool(client.health().value)
    return False


@pytest.mark.parametrize("kind", ASGI)
def test_reads_and_reports_over_https(place: Place, kind: str) -> None:
    url = place.serve(kind, OWN)
    here, ca_file = place.machine, str(place.machine.folder / "plugind.crt")
    here.driver("vm/ebs0.sock")
    here.agent("vm", url, client_ca_file=ca_file)
    with place.client(url, None) as client:
        eventually(lambda: counts(client, "ebs0") == (1, 1, 1, 1))
    with Client(url) as uncertified, pytest.raises(Unreachable, match="certificate"):
        uncertified.nodes()


@pytest.mark.parametrize("kind", ASGI)
def test_a_client_needs_a_certificate_of_the_authority(place: Place, kind: str) -> None:
    url = place.serve(kind, REQUIRING)
    with place.client(url, place.member) as client:
        assert client.nodes().index
    for pair, reason in ((None, REQUIRED), (place.other, NOT_ACCEPTED)):
        with place.client(url, pair) as client, pytest.raises(Unreachable) as caught:
            client.nodes()
        said = reason if kind == "granian" else ""  # uvicorn ends the connection without a reason
        assert str(caught.value).startswith(f"no answer from {url}: {said}")
