"""The listening socket, and how many files the process may have open."""

from __future__ import annotations

import errno
import resource
import socket
from contextlib import suppress

from plugind import logs
from plugind.errors import InUse, ListenError

OTHER_FILES = 64
"""Open files other than connections: the database, pipes, logs."""

CONNECTIONS_MINIMUM = 48
"""A server that could serve fewer connections does not start."""

BACKLOG = 512
"""Connections that may wait to be accepted; clients beyond that number try again after a second. In
a longer queue, everyone would wait behind a client that keeps opening connections."""

_log = logs.get("server")


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address of this machine; port 0 is any free port.

    "::" stands for all IPv4 and IPv6 addresses. Raise InUse if another program listens there, and
    ListenError for other failures.
    """
    sock = bind(host, port)
    try:
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise _listen_error(host, port, error) from error
    return sock


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound like that of ``listen``, but does not listen yet."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        address = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4]
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _listen_error(host, port, error) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # the machine's default may be 1 (ipv6(7), bindv6only)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise _listen_error(host, port, error) from error
    return sock


def _listen_error(host: str, port: int, error: OSError) -> ListenError:
    where = f"cannot listen on {host} port {port}"
    advice = "bind_addr and ports.http say where to listen"
    reason = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        return InUse(f"{where}: {reason}; {advice}")
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        has_ipv6 = host not in ("::", "::1") and error.errno != errno.EAFNOSUPPORT
        reason = "this machine has no such address" if has_ipv6 else "this machine has no IPv6"
    return ListenError(f"{where}: {reason}; {advice}")


def connections_allowed(wanted: int) -> int:
    """Return how many connections the limit on open files leaves room for, at most ``wanted``.

    Raise the soft limit to the hard limit first. Beyond the limit, accept() would keep failing, and
    no other file could be opened either. Raise ListenError if there is room for fewer than
    CONNECTIONS_MINIMUM connections.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    if soft == resource.RLIM_INFINITY or soft - OTHER_FILES >= wanted:
        return wanted
    allowed = soft - OTHER_FILES
    if allowed < CONNECTIONS_MINIMUM:
        raise ListenError(
            f"only {soft} files may be open at a time, too few to serve: raise the limit to "
            f"{OTHER_FILES + CONNECTIONS_MINIMUM} or more (ulimit -n, or LimitNOFILE of the unit)"
        )
    _log.warning("few files may be open at a time", limit=soft, connections=allowed, wanted=wanted)
    return allowed
