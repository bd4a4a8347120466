"""nginx as docs/exposing.md configures it, in front of a server."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.certificates import certificate
from tests.ports import reserved_port
from tests.promises import PATIENCE
from tests.support import eventually, needs
from tests.test_docs import ROOT

TEXT = (ROOT / "docs/exposing.md").read_text()
SERVER, HEALTH, CLIENT_CERTIFICATES = re.findall(
    r"^```nginx\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL
)
NGINX = "/usr/sbin/nginx"
LOG = "nginx-access.log"
"""nginx's access log: each line has the subject of the client's certificate, and the request."""


@contextmanager
def nginx(folder: Path, server: str, *, extra: str) -> Iterator[str]:
    """Run nginx in front of the server at that address; yield nginx's own address with the prefix.

    Its certificate is ``plugind.crt`` in the folder. ``extra`` is appended to its ``server`` block.
    """
    needs(NGINX, "nginx-light")
    with reserved_port() as port:
        config = _configuration(folder, port, server, extra)
        process = subprocess.Popen([NGINX, "-p", folder, "-c", config], stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: _answers(port))
            yield f"https://127.0.0.1:{port}/plugind"
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _configuration(folder: Path, port: int, server: str, extra: str) -> Path:
    """Write the document's blocks, with this test's port, files and server filled in."""
    certificate(folder, "plugind", "-addext", "subjectAltName=IP:127.0.0.1")
    text = SERVER.rstrip().removesuffix("}") + extra + "}\n"
    for old, new in {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "/etc/nginx/": f"{folder}/",
        "http://127.0.0.1:4646/": f"{server}/",
    }.items():
        assert old in text
        text = text.replace(old, new)
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        "user root;\ndaemon off;\n"  # the workers write in the test's folder
        f"pid {folder}/nginx.pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        "http {\nlog_format subjects '$ssl_client_s_dn $request';\n"
        f"access_log {folder}/{LOG} subjects;\n{places}{text}}}\n"
    )
    return config


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except OSError:
        return False
    return True
