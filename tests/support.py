"""Shared helpers: servers in process and live, reports, and waiting."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from plugind.health import Health
from plugind.intake import Accepted, Intake
from plugind.model.times import parse_time, time_text
from plugind.serve.application import create_app
from plugind.serve.front import WAITRESS
from plugind.serve.services import Services
from plugind.testing.serving import live_server, load
from tests.promises import PATIENCE
from tests.promises import eventually as eventually

SECRET = "a secret of the first node's agent"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, however it was obtained; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def index(self) -> int:
        return int(self.headers["x-nomad-index"])


class Api(Protocol):
    """A plugind server under test."""

    services: Services

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer: ...


@dataclass
class InProcess:
    """The application called by Flask's own test client."""

    services: Services
    app: Any

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        got = self.app.test_client(use_cookies=False).open(
            path, method=method, data=data, headers=dict(headers or {})
        )
        return Answer(got.status_code, {k.lower(): v for k, v in got.headers}, got.data)


@dataclass
class Live:
    """The application served over HTTP on a free port."""

    services: Services
    address: str

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        # A client that sends the path as it is: others correct odd paths.
        connection = http.client.HTTPConnection(self.address.partition("//")[2], timeout=PATIENCE)
        with closing(connection):
            connection.request(method, path, data, dict(headers or {}))
            got = connection.getresponse()
            return Answer(got.status, {k.lower(): v for k, v in got.headers.items()}, got.read())


def on_etcd(data_dir: Path, config: str) -> str:
    """Return a configuration with the store that the environment names, unless it names one itself.

    ``TEST_ETCD=127.0.0.1:2379 pytest tests/api`` runs the servers of tests on that etcd, with a
    prefix of its own for each ``data_dir``.
    """
    address = os.environ.get("TEST_ETCD")
    if not address or "store " in config:
        return config
    return f"{config}\n{etcd_block(data_dir, address)}"


def etcd_block(folder: Path, *addresses: str) -> str:
    """Return the block of a store on etcd, with a prefix unique to the folder."""
    prefix = f"test/{hashlib.blake2b(bytes(folder), digest_size=8).hexdigest()}"
    endpoints = ", ".join(f'"{each}"' for each in addresses)
    return f'store "etcd" {{\n  endpoints = [{endpoints}]\n  prefix = "{prefix}"\n}}\n'


@contextmanager
def serving(
    data_dir: Path,
    *,
    live: bool,
    config: str = "",
    checks: Mapping[str, Callable[[], Health]] | None = None,
    http: str = WAITRESS,
    shared: bool = False,
    **flags: str,
) -> Iterator[Api]:
    """Serve from ``data_dir``, in process or live, on an HTTP server of the kind ``http``.

    With ``shared``, serve as one of several processes, as every server does if TEST_SHARED is set.
    ``flags`` are settings by name (``server_max_parked="3"``), ``checks`` the health checks of
    other parts of the process.

    Unless a time to live is given, nodes that no agent keeps alive stay up for an hour, however
    slow the machine is.
    """
    if "heartbeat_ttl" not in config:
        flags = {"server_heartbeat_ttl": "1h", **flags}
    config = on_etcd(data_dir, config)
    shared = shared or "TEST_SHARED" in os.environ
    if live:
        with live_server(
            config, data_dir=data_dir, checks=checks, http=http, shared=shared, **flags
        ) as server:
            yield Live(server.services, server.address)
        return
    settings, registry = load(data_dir, config, {"server_enabled": "true", **flags})
    services = Services(settings, registry, data_dir, shared=shared)
    try:
        yield InProcess(services, create_app(services, "127.0.0.1:4646", checks))
    finally:
        services.close()


@dataclass
class FakeAgent:
    """The agent of one node; the test makes its requests."""

    api: Api
    node_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    name: str = "vm1"
    secret: str = SECRET
    digest: str = ""
    token: str = ""
    index: int = 0
    """The index of the agent's last report."""

    @property
    def headers(self) -> dict[str, str]:
        token = {"X-Nomad-Token": self.token} if self.token else {}
        return {"X-Plugind-Node-Secret": self.secret, **token}

    def report(self, plugins: Mapping[str, Any], **more: Any) -> Answer:
        """Report plugins of type csi: ID -> role -> fingerprint."""
        body = {"Name": self.name, "Plugins": {"csi": plugins}, **more}
        answer = self.api.call("PUT", f"/v1/node/{self.node_id}", body, self.headers)
        if answer.status == 200:
            self.digest, self.index = answer.json["Digest"], answer.json["Index"]
        return answer

    def beat(self, digest: str | None = None, run_id: str = "") -> Answer:
        body = {"Digest": self.digest if digest is None else digest, "RunID": run_id}
        return self.api.call("PUT", f"/v1/node/{self.node_id}/heartbeat", body, self.headers)


def taken(intake: Intake, *arguments: Any, **options: Any) -> Accepted:
    """Send a report to the intake and wait until it is written, with arguments as of
    ``Intake.begin``."""
    pending = intake.begin(*arguments, **options)
    return pending.result(pending.timeout)


def follows(api: Api, later: int, earlier: int, changes: int = 1) -> bool:
    """Return whether one index follows another after that number of changes.

    SQLite counts changes; with etcd, indexes are its revisions, which other writers advance, too.
    """
    grown = later - earlier
    return grown >= changes if api.services.store.has_other_servers else grown == changes


def second(time: str) -> str:
    """Return an RFC 3339 time in the format that messages use."""
    return time_text(parse_time(time))


def up(**details: Any) -> dict[str, Any]:
    """Return a healthy fingerprint."""
    return {"Healthy": True, **details}


def down(reason: str = "disk on fire", **details: Any) -> dict[str, Any]:
    """Return an unhealthy fingerprint."""
    return {"Healthy": False, "HealthDescription": reason, **details}


def needs(path: str, package: str) -> None:
    """Skip the test if a program of that Debian package is missing; in CI none may be missing."""
    if not os.path.exists(path):
        text = f"{path} is missing: apt-get install {package}"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)
