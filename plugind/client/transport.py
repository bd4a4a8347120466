"""How requests reach a server: the proxy in between, and the errors on the way."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import requests
from requests.exceptions import InvalidProxyURL, InvalidSchema
from requests.utils import get_environ_proxies, select_proxy

from plugind.printable import one_line

# A server that speaks plain HTTP closes the connection, or answers in plain text.
_NOT_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"}
)
_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})")
_SECONDS = re.compile(r"[0-9]{1,6}", re.ASCII)
_CERTIFICATE_ALERT = re.compile(r"ALERT_.*CERTIFICATE|ALERT_UNKNOWN_CA|ALERT_DECRYPT_ERROR")
_WANTED = (
    "it requires a client certificate: set cert_file and key_file in an agent's block client, or "
    "give a command --client-cert and --client-key"
)
_NOT_ACCEPTED = "it does not accept the client certificate"
_GATEWAY_ERRORS = (407, 502, 504)
"""Statuses that plugind never answers with."""


def proxies_for(address: str) -> Mapping[str, str]:
    """Return the proxies that the environment sets for a server, by scheme, as requests takes them.

    A server on this machine is reached directly whatever the environment says, because no proxy on
    another machine could reach it; NO_PROXY names more hosts that are reached directly.
    """
    if is_loopback(urlsplit(address).hostname or ""):
        return {}
    return get_environ_proxies(address)


def proxy_name(address: str, proxies: Mapping[str, str]) -> str:
    """Return the URL of the proxy for a server, without user and password; "" for none."""
    proxy = select_proxy(address, dict(proxies))
    if not proxy:
        return ""
    scheme, slashes, rest = proxy.rpartition("://")
    host = rest.rpartition("@")[2].partition("/")[0]
    return one_line(f"{scheme or 'http'}{slashes or '://'}{host}")


def is_loopback(host: str) -> bool:
    """Return whether a host, as written in a URL, is this machine (RFC 6761, section 6.3)."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


def trusted_certificates(ca_file: str | None) -> str | bool:
    """Return the file of certificates to trust, or True for those that come with requests."""
    variables = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    return ca_file or next(filter(None, map(os.environ.get, variables)), True)


def is_from_proxy(response: requests.Response, content: bytes) -> bool:
    """Return whether an error came from a proxy between here and the server.

    plugind's own errors are not HTML, and its 503 has the same Cache-Control as all its responses.
    A response with status 404 may come from another program at a wrong address, so it does not
    count.
    """
    if response.status_code < 400 or response.status_code == 404:
        return False
    if response.status_code in _GATEWAY_ERRORS:
        return True
    if response.status_code == 503:
        return "private" not in response.headers.get("Cache-Control", "")
    return is_page(response, content)


def certificate_refusal(response: requests.Response, content: bytes) -> str:
    """Return why nginx refuses the client's certificate, or that nginx wants one; "" for any other
    response.

    nginx completes the handshake first, and then answers each request with a page of status 400.
    """
    if response.status_code != 400 or not is_page(response, content):
        return ""
    if b"No required SSL certificate was sent" in content:
        return _WANTED
    if b"The SSL certificate error" in content:
        return _NOT_ACCEPTED
    return ""


def certificate_alert(error: BaseException) -> str:
    """Return why a server ended the handshake because of the client's certificate; "" for any
    other reason.

    Alerts come only from the other side, so they cannot be about the server's certificate.
    """
    for cause in _causes(error):
        alert = cause.reason if isinstance(cause, ssl.SSLError) else ""
        if alert and "ALERT_CERTIFICATE_REQUIRED" in alert:
            return _WANTED
        if alert and _CERTIFICATE_ALERT.search(alert):
            return f"{_NOT_ACCEPTED} ({alert.partition('ALERT_')[2].replace('_', ' ').lower()})"
    return ""


def is_page(response: requests.Response, content: bytes) -> bool:
    """Return whether a response is HTML."""
    kind = response.headers.get("Content-Type", "")
    return "html" in kind.lower() or content.lstrip()[:1] == b"<"


def retry_after(response: requests.Response) -> int | None:
    """Return the seconds of the header Retry-After of a 429 or 503; None if there are none.

    The header may also be a date (RFC 9110, section 10.2.3), which plugind never sends.
    """
    text = response.headers.get("Retry-After", "")
    if response.status_code not in (429, 503) or not _SECONDS.fullmatch(text):
        return None
    return int(text)


def read(response: requests.Response, maximum: int) -> bytes:
    """Return the body; if it is longer than ``maximum`` bytes, only a little more than that."""
    content = bytearray()
    with response:
        for part in response.iter_content(1 << 16):
            content += part
            if len(content) > maximum:
                break
    return bytes(content)


def lacks_tls(error: BaseException) -> bool:
    """Return whether a call over https failed because the server does not speak https."""
    return any(
        isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        or (isinstance(cause, ssl.SSLError) and cause.reason in _NOT_TLS)
        for cause in _causes(error)
    )


def reason(error: BaseException) -> str:
    """Return the innermost cause in a few words: requests wraps errors several times."""
    if isinstance(error, requests.Timeout):
        return "it took too long"
    if isinstance(error, InvalidSchema | InvalidProxyURL):  # The proxy cannot be used.
        return one_line(str(error).rstrip("."))
    for cause in _causes(error):
        if found := _TUNNEL_REFUSED.search(str(cause)):
            return f"a proxy answered {found[1]}"
        if isinstance(cause, OSError) and cause.strerror:
            return one_line(cause.strerror.lower())
    return type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors inside it, from the outside inwards."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        inner = cause.args[0] if cause.args else None
        candidates = (getattr(cause, "reason", None), inner, cause.__cause__, cause.__context__)
        errors = (each for each in candidates if isinstance(each, BaseException))
        cause = next((each for each in errors if each is not cause), None)
