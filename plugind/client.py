"""A typed client of plugind's HTTP API: what the agent and the command line speak through.

Every method raises Unreachable when no server answers or something else than a plugind does, and
Refused when the server answers with an error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import requests

from plugind.errors import ClientError, Refused, Unreachable
from plugind.fields import format_duration

DEFAULT_ADDRESS = "http://127.0.0.1:4646"
NODE_SECRET_HEADER = "X-Plugind-Node-Secret"
ANSWER_MAXIMUM = 1 << 28
"""Bytes of what is read."""

ACKNOWLEDGEMENT_MAXIMUM = 1 << 24
"""Bytes of the answer to a write: whoever sends more is no plugind, and must not fill an agent."""

_WAIT_SLACK = 1 / 16  # a server adds up to this share of a blocking query's wait


@dataclass(frozen=True, slots=True)
class Answer:
    """A decoded answer and the index it is from (0 where the endpoint has none)."""

    value: Any
    index: int


class Client:
    """Speaks to one server at ``address`` (``http://HOST:PORT``); one thread at a time.

    ``timeout`` is in seconds, for connecting and for each pause within an answer; a blocking query
    adds its wait. ``ca_file`` names the certificates that an https server is trusted by.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        token: str = "",
        ca_file: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        _check(address, token)
        self.address = address.rstrip("/")
        self._timeout = timeout
        self._session = requests.Session()
        if token:
            self._session.headers["X-Nomad-Token"] = token
        if ca_file and not os.path.isfile(ca_file):
            raise ClientError(f"the file of certificates {ca_file} is not there")
        self._verify = ca_file or True

    def copy(self) -> Client:
        """Another client of the same server, for another thread."""
        other = Client(self.address, timeout=self._timeout)
        other._session.headers.update(self._session.headers)
        other._verify = self._verify
        return other

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()

    # Reads. With an index above 0 they block until the resource has a greater one, ``wait``
    # seconds at most.

    def plugin_types(self) -> Answer:
        """The plugin types that the server has, each with its name, title and roles."""
        return self._call("GET", "/v1/plugin-types")

    def plugins(self, type: str, *, index: int = 0, wait: float = 60.0) -> Answer:
        """The rows of all plugins of a type."""
        return self._read("/v1/plugins", {"type": type}, index, wait)

    def plugin(self, type: str, id: str, *, index: int = 0, wait: float = 60.0) -> Answer:
        """One plugin with its instances."""
        return self._read(f"/v1/plugin/{quote(type, '')}/{quote(id, '')}", {}, index, wait)

    def nodes(self, *, prefix: str = "", index: int = 0, wait: float = 60.0) -> Answer:
        """The nodes' stubs; ``prefix`` is of their IDs."""
        return self._read("/v1/nodes", {"prefix": prefix} if prefix else {}, index, wait)

    def node(self, node_id: str, *, index: int = 0, wait: float = 60.0) -> Answer:
        """One node with its instances."""
        return self._read(f"/v1/node/{quote(node_id, '')}", {}, index, wait)

    def allocations(self, node_id: str, *, index: int = 0, wait: float = 60.0) -> Answer:
        """The processes behind a node's instances."""
        return self._read(f"/v1/node/{quote(node_id, '')}/allocations", {}, index, wait)

    def health(self) -> Answer:
        """The health of the server and of the agent in the same process."""
        return self._call("GET", "/v1/agent/health")

    # Writes.

    def report(self, node_id: str, secret: str, report: Mapping[str, Any]) -> Mapping[str, Any]:
        """Hands over a node's whole report; answers Index, HeartbeatTTL, Digest and Rejected."""
        path = f"/v1/node/{quote(node_id, '')}"
        return self._object("PUT", path, report, {NODE_SECRET_HEADER: secret})

    def heartbeat(
        self, node_id: str, secret: str, digest: str, run_id: str = ""
    ) -> Mapping[str, Any]:
        """Keeps a node alive; Refused with status 409 when the whole report is wanted."""
        path = f"/v1/node/{quote(node_id, '')}/heartbeat"
        beat = {"Digest": digest, **({"RunID": run_id} if run_id else {})}
        return self._object("PUT", path, beat, {NODE_SECRET_HEADER: secret})

    def forget_node(self, node_id: str, secret: str = "") -> Mapping[str, Any]:
        """The node leaves, and its instances with it."""
        headers = {NODE_SECRET_HEADER: secret} if secret else {}
        return self._object("DELETE", f"/v1/node/{quote(node_id, '')}", None, headers)

    def forget_plugin(self, type: str, id: str) -> Mapping[str, Any]:
        """Forgets what is not healthy of a plugin."""
        return self._object("DELETE", f"/v1/plugin/{quote(type, '')}/{quote(id, '')}", None, {})

    def _read(self, path: str, query: dict[str, str], index: int, wait: float) -> Answer:
        if not index:
            return self._call("GET", path, query)
        query |= {"index": str(index), "wait": format_duration(round(wait * 1e9))}
        return self._call("GET", path, query, patience=wait * (1 + _WAIT_SLACK))

    def _object(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> Mapping[str, Any]:
        value = self._call(method, path, {}, body, headers, maximum=ACKNOWLEDGEMENT_MAXIMUM).value
        if not isinstance(value, dict):
            raise self._not_ours()
        return value

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        patience: float = 0.0,
        maximum: int = ANSWER_MAXIMUM,
    ) -> Answer:
        try:
            response = self._session.request(
                method,
                self.address + path,
                params=query,
                json=body,
                headers=headers,
                timeout=(self._timeout, self._timeout + patience),
                allow_redirects=False,
                # Here, not in the session: there an environment variable would go before it.
                verify=self._verify,
                stream=True,
            )
            content = _content(response, maximum)
        except (requests.RequestException, ValueError) as error:  # urllib3 has some of its own
            raise Unreachable(
                f"no answer from {self.address}: {_reason(error)}; is that the right address, "
                "and is the server running?"
            ) from error
        try:
            index = int(response.headers.get("X-Nomad-Index", 0))
            if response.status_code >= 400:
                text = " ".join(content.decode(errors="replace").split())[:500] or response.reason
                raise Refused(response.status_code, text, index)
            if response.status_code >= 300 or len(content) > maximum:
                raise self._not_ours()
            return Answer(json.loads(content), index)
        except (ValueError, RecursionError) as error:
            raise self._not_ours() from error

    def _not_ours(self) -> Unreachable:
        return Unreachable(
            f"{self.address} did not answer as a plugind does; is that the right address?"
        )


def _check(address: str, token: str) -> None:
    """Raises Unreachable for what is no address, ClientError for what cannot be a token. Secrets
    are not told: what is before an @ may be one."""
    if "@" in address:
        raise Unreachable("a server's address has no user or password; --token is for tokens")
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise Unreachable(f"{address!r} is no server address; it looks like {DEFAULT_ADDRESS}")
    if not (token.isascii() and token.isprintable()):
        raise ClientError("the token has characters that no token has: only ASCII ones can be sent")


def _content(response: requests.Response, maximum: int) -> bytes:
    """The body, of which not much more than the maximum is read."""
    content = bytearray()
    with response:
        for part in response.iter_content(1 << 16):
            content += part
            if len(content) > maximum:
                break
    return bytes(content)


def _reason(error: BaseException) -> str:
    """The innermost cause in a few words, for requests wraps what happened several times over."""
    if isinstance(error, requests.Timeout):
        return "it took too long"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        inner = cause.args[0] if cause.args else None
        reason = getattr(cause, "reason", None)
        cause = next(
            (e for e in (reason, inner, cause.__cause__, cause.__context__) if _is_new(e, cause)),
            None,
        )
    return type(error).__name__


def _is_new(candidate: object, known: BaseException) -> bool:
    return isinstance(candidate, BaseException) and candidate is not known
