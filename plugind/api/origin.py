"""Finds out where a browser's request comes from, from its headers and those of trusted proxies.

A trusted proxy may report which host, scheme and path prefix the browser sees. Everything else is
taken from the request itself.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from plugind.api.request import Request
from plugind.errors import Forbidden
from plugind.wire import addresses
from plugind.wire.addresses import Networks, is_within

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]{1,64}){1,8}")


def _forwarded(request: Request, name: str, trusted: Networks) -> str:
    """Return the value that a trusted proxy put in ``X-Forwarded-NAME``, "" if there is none. Of
    several proxies' values, that of the nearest proxy counts."""
    if not (trusted and is_within(request.remote, trusted)):
        return ""
    return request.header(f"X-Forwarded-{name}").rpartition(",")[2].strip()


def cookie_attributes(request: Request, trusted: Networks) -> str:
    """Return the attributes of a cookie that depend on how the browser reaches the server.

    Without Path a browser uses the folder of the form's own path, which is ``<prefix>/ui`` for a
    form directly below it. So this also works with a prefix that no header names.
    """
    prefix = _forwarded(request, "Prefix", trusted).rstrip("/")
    path = f"; Path={prefix}/ui" if _PREFIX.fullmatch(prefix) else ""
    # If a proxy that is not trusted terminates TLS, the form's own origin still says https.
    is_secure = _forwarded(request, "Proto", trusted).lower() == "https" or request.header(
        "Origin"
    ).lower().startswith("https://")
    return f"{path}; Secure" if is_secure else path


def check_origin(request: Request, trusted: Networks) -> None:
    """Raise Forbidden for a request that another site sent (RFC 6454): the host and port of its
    origin are not those that the browser sent it to."""
    host = _host(request, trusted)
    origin = request.header("Origin")
    site = request.header("Sec-Fetch-Site")
    try:
        sent_by = urlsplit(origin).netloc.lower()
    except ValueError:
        sent_by = ""
    if not sent_by or sent_by != host or site not in ("", "same-origin"):
        raise Forbidden(
            "the request was sent by another site, or a proxy changes Host: have it pass on Host, "
            "or name it in server.trusted_proxies and have it send X-Forwarded-Host"
        )


def check_known_host(request: Request, trusted: Networks, names: Collection[str]) -> None:
    """Raise Forbidden for a host that is neither an IP address, nor localhost, nor one of the
    server's names: any site can make its own name resolve to an address behind a firewall."""
    host, _ = _split(_host(request, trusted))
    known = {"localhost", *(name.lower() for name in names if name)}
    if host not in known and not _is_address(host):
        raise Forbidden(
            f"without ACLs this needs a host that is known, not {host[:64]!r}: use an IP address, "
            "or name it in advertise.http"
        )


def check_write(request: Request, trusted: Networks, names: Collection[str]) -> None:
    """Raise Forbidden for a write from a browser, unless a page of a known host sent it. Writes
    without Origin pass: agents and tools send none."""
    if request.method not in ("GET", "HEAD") and request.header("Origin"):
        check_origin(request, trusted)
        check_known_host(request, trusted, names)


def _host(request: Request, trusted: Networks) -> str:
    """Return the host and port that the browser sent the request to."""
    return (_forwarded(request, "Host", trusted) or request.header("Host")).strip().lower()


def _split(host: str) -> tuple[str, int | None]:
    try:
        return addresses.split(host)
    except ValueError:
        return host, None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
