"""Docker's first request to a plugin, POST /Plugin.Activate, and the plugin's answer."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from contextlib import closing

from plugind.errors import ProbeFailed
from plugind.fields import SECOND, format_duration
from plugind_docker.finding import Place, Tls
from plugind_docker.schemas import IMPLEMENTS_MAXIMUM, SUBSYSTEM_MAXIMUM

ANSWER_MAXIMUM = 65_536
VERSION = "application/vnd.docker.plugins.v1.2+json"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def activate(place: Place, timeout: float) -> list[str]:
    """Return the subsystems that a plugin implements. Raise ProbeFailed with the reason if it gave
    no answer."""
    try:
        with closing(_connection(place, timeout)) as connection:
            connection.request("POST", "/Plugin.Activate", headers={"Accept": VERSION})
            with connection.getresponse() as answer:
                body = answer.read(ANSWER_MAXIMUM + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ProbeFailed(_reason(place, timeout, error)) from error
    if answer.status != 200:
        raise ProbeFailed(f"Plugin.Activate was answered with {answer.status} {_start(body)}")
    return _implements(body)


def _connection(place: Place, timeout: float) -> http.client.HTTPConnection:
    if place.path:
        return UnixConnection(place.path, timeout)
    if place.tls is None:
        return http.client.HTTPConnection(place.host, place.port, timeout=timeout)
    context = _context(place.tls)
    return http.client.HTTPSConnection(place.host, place.port, timeout=timeout, context=context)


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca or None)
    if tls.insecure or not tls.ca:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate:
        context.load_cert_chain(tls.certificate, tls.key or None)
    return context


def _implements(body: bytes) -> list[str]:
    try:
        document = json.loads(body) if len(body) <= ANSWER_MAXIMUM else None
    except (ValueError, RecursionError):
        document = None
    match document:
        case {"Implements": list(names)} if len(names) <= IMPLEMENTS_MAXIMUM and all(
            isinstance(each, str) and len(each) <= SUBSYSTEM_MAXIMUM for each in names
        ):
            return sorted(set(names))
    raise ProbeFailed(f"Plugin.Activate was not answered with a manifest: {_start(body)!r}")


def _reason(place: Place, timeout: float, error: Exception) -> str:
    """Return a reason for operators why there was no answer."""
    if isinstance(error, TimeoutError):
        limit = format_duration(round(timeout * SECOND))
        return f"no answer to Plugin.Activate at {place.url} within {limit}"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens on {place.url}: connection refused (is the plugin running?)"
    if isinstance(error, http.client.HTTPException):
        return f"{place.url} does not speak HTTP: {type(error).__name__}"
    return f"cannot ask {place.url}: {getattr(error, 'strerror', None) or error}"


def _start(body: bytes) -> str:
    return " ".join(body[:200].decode(errors="replace").split())
