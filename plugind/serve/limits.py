"""The limits on connections."""

from __future__ import annotations

from dataclasses import dataclass

from plugind.config.settings import ServerLimits
from plugind.wire.addresses import Networks, client_of, is_within

MEBIBYTE = 2**20

HEAD_MAXIMUM = 48 * 2**10
"""Bytes of a request's line and headers together; longer ones take long to parse."""

BODY_BYTES_PER_SECOND = 64 * 2**10
"""The lowest rate at which a body may arrive; ``body_timeout`` is allowed in addition."""

LINGER_SECONDS = 2.0
LINGER_BYTES = 16 * MEBIBYTE
"""Bytes that a refused client may still send: many clients read no answer before they have sent the
whole body."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits on clients of the HTTP server: the settings of ``server`` with the same names.

    Times are in seconds, memory in bytes. ``trusted_proxies`` are networks whose connections carry
    many clients.
    """

    max_connections: int = 8_000
    head_timeout: float = 10.0
    body_timeout: float = 30.0
    send_timeout: float = 30.0
    idle_timeout: float = 120.0
    max_body_memory: int = 64 * MEBIBYTE
    max_send_memory: int = 256 * MEBIBYTE
    max_receive_memory: int = 64 * MEBIBYTE
    trusted_proxies: Networks = ()

    def trusts(self, address: str) -> bool:
        """Return whether an address is a trusted proxy's, whose connections are never counted."""
        return bool(self.trusted_proxies) and is_within(address, self.trusted_proxies)

    def client_of(self, address: str, forwarded: str) -> str:
        """Return the address that a request comes from according to the X-Forwarded-For header of
        trusted proxies: the last in the chain that is not a trusted proxy."""
        return client_of(address, forwarded, self.trusted_proxies)


def limits_of(settings: ServerLimits) -> ConnectionLimits:
    """Return the limits on connections that are configured."""
    return ConnectionLimits(
        max_connections=settings.max_connections,
        head_timeout=settings.head_timeout,
        body_timeout=settings.body_timeout,
        send_timeout=settings.send_timeout,
        idle_timeout=settings.idle_timeout,
        max_body_memory=settings.max_body_memory,
        max_send_memory=settings.max_send_memory,
        max_receive_memory=settings.max_receive_memory,
        trusted_proxies=settings.trusted_proxies,
    )
