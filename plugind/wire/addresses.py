"""Network addresses: HOST or HOST:PORT as text, and the addresses of this machine."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection
from contextlib import suppress
from pkgutil import resolve_name
from urllib.parse import urlsplit

Networks = Collection[ipaddress.IPv4Network | ipaddress.IPv6Network]

HTTP_PORT = 4646
"""The default port of Nomad's HTTP API, and of plugind's."""

_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*\.?")
_BRACKETED = re.compile(r"\[(?P<host>[^\[\]]*)\](?::(?P<port>[0-9]{1,5}))?")
_PLAIN = re.compile(r"(?P<host>[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")

# Documentation addresses (RFC 5737, RFC 3849): only the default route leads to them.
_ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
_ANY_PORT = 9


def split(text: str) -> tuple[str, int | None]:
    """Return the host and the port of ``HOST``, ``HOST:PORT``, ``[IPV6]:PORT`` or a bare IPv6
    address; the port is None when there is none.

    Raise ValueError for any other text.
    """
    match = _BRACKETED.fullmatch(text) or _PLAIN.fullmatch(text)
    host, port = (match["host"], match["port"]) if match else (text, None)
    number = None if port is None else int(port)
    if not _is_host(host) or (number is not None and not 0 < number < 65536):
        raise ValueError(f"not an address: {text[:64]!r}")
    return host, number


def _is_host(text: str) -> bool:
    with suppress(OSError, ValueError):
        socket.inet_pton(socket.AF_INET, text)  # fast, and most hosts are IPv4 addresses
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        # A name of digits only would be a mistyped IPv4 address.
        return bool(_NAME.fullmatch(text)) and not re.fullmatch(r"[0-9.]+", text)
    return True


def join(host: str, port: int) -> str:
    """Return ``HOST:PORT`` as written in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def with_port(text: str, port: int) -> str:
    """Return an address with its own port, or with ``port`` if it has none.

    Raise ValueError for a text that is not an address.
    """
    host, given = split(text)
    return join(host, given or port)


def is_unspecified(host: str) -> bool:
    """Return whether the host is 0.0.0.0 or ::, which a socket can listen on but no machine has."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def toward(url: str) -> str:
    """Return the local IP address from which a server's URL is reached.

    Return "" when there is no route or the server's name cannot be resolved. No packet is sent to
    the server.
    """
    try:
        parts = urlsplit(url)
        if not parts.hostname:
            return ""
        found = socket.getaddrinfo(parts.hostname, parts.port or _ANY_PORT, type=socket.SOCK_DGRAM)
    except (OSError, ValueError):
        return ""
    for family, _, _, _, address in found:
        if local := _local(family, address):
            return local
    return ""


def of_this_machine(unspecified: str) -> str:
    """Return an address of this machine for a server that listens on 0.0.0.0 or ``::``.

    It is the local address of the default route, else the address of any network interface, else
    the loopback address.
    """
    families = [socket.AF_INET]
    if ":" in unspecified:
        families.append(socket.AF_INET6)  # a socket on :: accepts IPv4 as well
    for family in families:
        if local := _local(family, (_ELSEWHERE[family], _ANY_PORT)):
            return local
    # Imported only here, because a server that listens on one address does not need it.
    for addresses in resolve_name("psutil:net_if_addrs")().values():
        for each in addresses:
            if each.family in families and not _is_local_only(each.address):
                return str(each.address)
    return "127.0.0.1"


def _local(family: int, address: tuple[object, ...]) -> str:
    """Return the address that packets to ``address`` would be sent from; "" without a route."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect(address)  # for a datagram socket, this only looks up the route
            host = str(sock.getsockname()[0])
    except OSError:
        return ""
    return "" if is_unspecified(host) else host.partition("%")[0]


def _is_local_only(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return True
    return address.is_loopback or address.is_link_local


def is_within(address: str, networks: Networks) -> bool:
    """Return whether a text is an IP address in one of the networks."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in network for network in networks)


def party_of(client: str) -> str:
    """Return the key under which a client is counted in limits per address.

    It is the IPv4 address, or the /64 network of the IPv6 address, because one client usually owns
    the whole network.
    """
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if address.version == 4 or address.ipv4_mapped:
        return str(getattr(address, "ipv4_mapped", None) or address)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))


def client_of(remote: str, forwarded: str, trusted: Networks) -> str:
    """Return the address of the client that sent a request.

    ``remote`` is the other end of the connection. ``forwarded`` is the header X-Forwarded-For, to
    which each proxy appends the address of its own client. Only ``trusted`` proxies are believed,
    so the client is the right-most address that does not belong to a trusted proxy.
    """
    address = remote
    for text in reversed(forwarded.split(",") if trusted and forwarded else ()):
        if not is_within(address, trusted):
            break
        try:
            address = str(ipaddress.ip_address(split(text.strip())[0]))
        except ValueError:
            break
    return address
