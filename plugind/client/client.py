"""A typed client of plugind's HTTP API, used by the agent and the command line.

Every method raises Unreachable when no server, or a server other than plugind, answers, and Refused
when the server answers with an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import requests

from plugind.client import transport
from plugind.client.document_bodies import as_nomad, is_document
from plugind.client.names import DEFAULT_ADDRESS, NODE_SECRET_HEADER
from plugind.client.tls import Tls
from plugind.errors import ClientError, Refused, Unreachable
from plugind.model.changes import HISTORY_LIMIT
from plugind.model.times import format_duration
from plugind.printable import one_line

ANSWER_MAXIMUM = 1 << 28
"""Bytes of a response to a read."""

ACKNOWLEDGEMENT_MAXIMUM = 1 << 24
"""Bytes of a response to a write: a server that sends more is not plugind."""

PAGES = 100
"""Pages of history that are read, at most, to find transitions that the token may read."""

ERROR_MAXIMUM = 500
"""Characters of an error's text that are kept."""

_WAIT_SLACK = 1 / 16
"""The fraction of a blocking query's wait that a server may add to it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A decoded response, its index (0 if the endpoint has none), and the token of the next page
    ("" if there is none)."""

    value: Any
    index: int
    next_token: str = ""


class Client:
    """A client of the server at ``address`` (``http://HOST:PORT``), for one thread at a time.

    ``timeout`` is in seconds, for connecting and for each pause within a response; a blocking query
    adds its wait. ``tls`` names the files for an https server; they are read again for each
    connection.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        token: str = "",
        tls: Tls | None = None,
        timeout: float = 10.0,
    ) -> None:
        _check(address, token)
        self.address = address.rstrip("/")
        self._timeout = timeout
        self._session = requests.Session()
        self._session.trust_env = False  # Otherwise it would send credentials from .netrc.
        self._proxies = transport.proxies_for(self.address)
        if token:
            self._session.headers["X-Nomad-Token"] = token
        self._tls = tls or Tls()
        if reason := self._tls.why_unusable():
            raise ClientError(reason)
        self._is_https = self.address.startswith("https:")

    def copy(self) -> Client:
        """Return another client of the same server, for another thread."""
        other = Client(self.address, tls=self._tls, timeout=self._timeout)
        other._session.headers.update(self._session.headers)
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
        """Close the connection, if one is open; the next call opens another."""
        self._session.close()

    # Reads. With an index above 0 they block until the resource has a greater index, for at most
    # ``wait`` seconds.

    def plugin_types(self) -> Answer:
        """Return the plugin types of the server, each with its name, title and roles."""
        return self._call("GET", "/v1/plugin-types")

    def plugins(self, type: str, *, prefix: str = "", index: int = 0, wait: float = 60.0) -> Answer:
        """Return the rows of all plugins of a type whose IDs begin with ``prefix``."""
        query = {"type": type, **({"prefix": prefix} if prefix else {})}
        return self._read("/v1/plugins", query, index, wait)

    def plugin(self, type: str, id: str, *, index: int = 0, wait: float = 60.0) -> Answer:
        """Return one plugin with its instances, always in the shape of Nomad's servers."""
        answer = self._read(f"/v1/plugin/{_segment(type)}/{_segment(id)}", {}, index, wait)
        if not is_document(answer.value):
            return answer
        row = self._row(type, answer.value[0].get("ID", id))
        return Answer(as_nomad(answer.value, row), answer.index)

    def _row(self, type: str, id: str) -> Mapping[str, Any]:
        """Return a plugin's row in the list; {} when it is gone or the token may not list it."""
        try:
            rows = self.plugins(type, prefix=id).value
        except Refused:
            return {}
        return next((row for row in rows if row["ID"] == id), {})

    def nodes(
        self, *, prefix: str = "", filter: str = "", index: int = 0, wait: float = 60.0
    ) -> Answer:
        """Return the stubs of nodes whose IDs begin with ``prefix`` and that match ``filter``."""
        query = {"prefix": prefix, "filter": filter}
        given = {name: value for name, value in query.items() if value}
        return self._read("/v1/nodes", given, index, wait)

    def node(self, node_id: str, *, index: int = 0, wait: float = 60.0) -> Answer:
        """Return one node with its instances."""
        return self._read(f"/v1/node/{_segment(node_id)}", {}, index, wait)

    def allocations(self, node_id: str, *, index: int = 0, wait: float = 60.0) -> Answer:
        """Return the processes behind a node's instances."""
        return self._read(f"/v1/node/{_segment(node_id)}/allocations", {}, index, wait)

    def plugin_history(
        self, type: str, id: str, *, since: str = "", index: int = 0, wait: float = 60.0
    ) -> Answer:
        """Return the newest 1,000 transitions of a plugin's instances, newest first.

        ``since`` is a time (RFC 3339), or a span such as "24h".
        """
        path = f"/v1/plugin/{_segment(type)}/{_segment(id)}/history"
        return self._history(path, since, index, wait)

    def node_history(
        self, node_id: str, *, since: str = "", index: int = 0, wait: float = 60.0
    ) -> Answer:
        """Return the newest 1,000 transitions of a node and of the instances on it.

        ``since`` is as for ``plugin_history``.
        """
        return self._history(f"/v1/node/{_segment(node_id)}/history", since, index, wait)

    def history(self, *, since: str = "", index: int = 0, wait: float = 60.0) -> Answer:
        """Return the newest 1,000 transitions of all that the token may read.

        ``since`` is as for ``plugin_history``.
        """
        return self._history("/v1/history", since, index, wait)

    def plugin_availability(self, type: str, id: str) -> Answer:
        """Return how much of the time a plugin was healthy, by role."""
        return self._call("GET", f"/v1/plugin/{_segment(type)}/{_segment(id)}/availability")

    def node_availability(self, node_id: str) -> Answer:
        """Return how much of the time a node's instances were healthy, by type and role."""
        return self._call("GET", f"/v1/node/{_segment(node_id)}/availability")

    def problems(self) -> Answer:
        """Return the current problems that the token may read, grouped."""
        return self._call("GET", "/v1/problems")

    def health(self) -> Answer:
        """Return the health of the server and of the agent in the same process."""
        return self._call("GET", "/v1/agent/health")

    # Writes.

    def report(self, node_id: str, secret: str, report: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a node's whole report; return Index, HeartbeatTTL, Digest and Rejected."""
        path = f"/v1/node/{_segment(node_id)}"
        return self._object("PUT", path, report, {NODE_SECRET_HEADER: secret})

    def heartbeat(
        self,
        node_id: str,
        secret: str,
        digest: str,
        run_id: str = "",
        probes: Mapping[str, Any] = MappingProxyType({}),
    ) -> Mapping[str, Any]:
        """Keep a node alive; raise Refused with status 409 when the server needs the whole report.

        ``probes`` has the numbers of probes since the agent's start, by plugin type.

        The connection is closed afterwards: the next request is usually seconds away, and thousands
        of idle connections would use up the number that the server may have open.
        """
        path = f"/v1/node/{_segment(node_id)}/heartbeat"
        more = {"RunID": run_id, "Probes": dict(probes)}
        beat = {"Digest": digest, **{name: value for name, value in more.items() if value}}
        headers = {NODE_SECRET_HEADER: secret, "Connection": "close"}
        return self._object("PUT", path, beat, headers)

    def forget_node(self, node_id: str, secret: str = "") -> Mapping[str, Any]:
        """Remove a node and its instances from the catalogue."""
        headers = {NODE_SECRET_HEADER: secret} if secret else {}
        return self._object("DELETE", f"/v1/node/{_segment(node_id)}", None, headers)

    def forget_plugin(self, type: str, id: str) -> Mapping[str, Any]:
        """Forget the instances of a plugin that are not healthy."""
        return self._object("DELETE", f"/v1/plugin/{_segment(type)}/{_segment(id)}", None, {})

    def _read(self, path: str, query: dict[str, str], index: int, wait: float) -> Answer:
        if not index:
            return self._call("GET", path, query)
        query |= {"index": str(index), "wait": format_duration(round(wait * 1e9))}
        return self._call("GET", path, query, patience=wait * (1 + _WAIT_SLACK))

    def _history(self, path: str, since: str, index: int, wait: float) -> Answer:
        """Return the newest transitions. A page may be short, or even empty, although another page
        follows. For a blocking query, only the first page is read."""
        query = {"since": since} if since else {}
        answer = self._read(path, dict(query), index, wait)
        rows, pages = answer.value, 1
        while answer.next_token and len(rows) < HISTORY_LIMIT and pages < PAGES and not index:
            page = self._call("GET", path, {**query, "next_token": answer.next_token})
            answer = Answer(answer.value, answer.index, page.next_token)
            rows, pages = [*rows, *page.value], pages + 1
        more = answer.next_token or "more" * (len(rows) > HISTORY_LIMIT)
        return Answer(rows[:HISTORY_LIMIT], answer.index, more)

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
                proxies=dict(self._proxies),
                verify=self._tls.verify,
                cert=self._tls.cert if self._is_https else None,
                stream=True,
            )
            content = transport.read(response, maximum)
        # Errors of requests are OSErrors; errors of urllib3 are ValueErrors.
        except (OSError, ValueError) as error:
            raise self._unreached(error) from error
        if reason := transport.certificate_refusal(response, content):
            raise Unreachable(f"no answer from {self._way}: {reason}")
        if transport.is_from_proxy(response, content):
            raise Unreachable(
                f"no answer from {self._way}: a proxy answered {response.status_code}; "
                "is that the right address, and is the server running?"
            )
        try:
            index = int(response.headers.get("X-Nomad-Index", 0))
            if response.status_code >= 400:
                text = _error_text(response, content)
                raise Refused(response.status_code, text, index, transport.retry_after(response))
            if response.status_code >= 300 or len(content) > maximum:
                raise self._not_ours()
            next_token = response.headers.get("X-Nomad-NextToken", "")
            return Answer(json.loads(content), index, next_token)
        except (ValueError, RecursionError) as error:
            raise self._not_ours() from error

    @property
    def _way(self) -> str:
        """Return the server's address and the proxy that it is reached through, if any."""
        proxy = transport.proxy_name(self.address, self._proxies)
        return f"{self.address} through the proxy {proxy}" if proxy else self.address

    def _unreached(self, error: Exception) -> Unreachable:
        """Return the error for a call that got no answer."""
        if self._is_https and transport.lacks_tls(error):
            return Unreachable(f"{self._way} does not speak https; try http://")
        # The files may have been replaced since the last connection.
        if self._is_https and (reason := self._tls.why_unusable()):
            return Unreachable(f"no connection to {self._way}: {reason}")
        if reason := transport.certificate_alert(error):
            return Unreachable(f"no answer from {self._way}: {reason}")
        return Unreachable(
            f"no answer from {self._way}: {transport.reason(error)}; is that the right address, "
            "and is the server running?"
        )

    def _not_ours(self) -> Unreachable:
        return Unreachable(
            f"{self._way} did not answer as a plugind does; is that the right address?"
        )


def _check(address: str, token: str) -> None:
    """Raise Unreachable for a bad address, ClientError for a text that cannot be a token.

    The error for an address with an @ does not repeat the address, because a password may precede
    the @.
    """
    if "@" in address:
        raise Unreachable("remove the user and password from the server's address; use --token")
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise Unreachable(
            f"{address!r} is not a server's address; use one such as {DEFAULT_ADDRESS}"
        )
    if not (token.isascii() and token.isprintable()):
        raise ClientError("the token has characters other than printable ASCII; correct it")


def _error_text(response: requests.Response, content: bytes) -> str:
    """Return the text of an error in one line: its body, or its reason if the body is a page."""
    body = "" if transport.is_page(response, content) else content.decode(errors="replace")
    return one_line(body, ERROR_MAXIMUM) or one_line(response.reason or "", ERROR_MAXIMUM)


def _segment(text: str) -> str:
    """Return a segment of a path, quoted.

    Lone surrogates, as from arguments that are not UTF-8, become bytes that no ID has, so the
    server answers 404.
    """
    return quote(text, "", errors="surrogatepass")
