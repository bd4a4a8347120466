"""Turns what gRPC and etcd report into errors of one line that say what to do."""

from __future__ import annotations

from typing import Any

import grpc

from plugind.errors import StoreError

SPACE = (
    "etcd is full: its database has reached the quota, and takes no writes. Compact it and defrag "
    "each member (etcdctl compact, etcdctl defrag), then disarm the alarm (etcdctl alarm disarm); "
    "docs/etcd.md has the steps"
)


SET_BACK = (
    "etcd was set back to an earlier revision, as by a restored snapshot: restart all servers"
)


REPLACED = "the store in etcd was replaced: restart this server"

GONE = (
    "etcd has lost the store, as where its data were deleted: restore a backup (plugind store "
    "restore), then restart all servers; without a backup they begin with an empty catalogue"
)


class Unanswered(StoreError):
    """No member answered. ``may_be_done`` says whether one may have done the call anyway."""

    def __init__(self, failures: str, *, may_be_done: bool) -> None:
        super().__init__(
            f"etcd does not answer ({failures}): look whether a majority of its members runs"
        )
        self.may_be_done = may_be_done


class Unsent(grpc.RpcError):  # type: ignore[misc]  # grpc has no types
    """A call was not sent, because the token that goes with it could not be fetched."""

    def __init__(self, error: Any) -> None:
        super().__init__()
        self._error = error

    def code(self) -> Any:
        return self._error.code()

    def details(self) -> Any:
        return self._error.details()


class AuthExpired(StoreError):
    """The token is no longer valid: a new one must be fetched."""


class RevisionGone(StoreError):
    """The requested revision was compacted."""


class LeaseGone(StoreError):
    """A lease has ended."""


class Full(StoreError):
    """The database of etcd has reached its quota."""


_KNOWN: tuple[tuple[str, type[StoreError], str], ...] = (
    ("revision has been compacted", RevisionGone, "etcd was compacted beyond that revision"),
    ("requested lease not found", LeaseGone, "a lease in etcd has ended; try again"),
    ("database space exceeded", Full, SPACE),
    ("invalid auth token", AuthExpired, "etcd does not take its own token; try again later"),
    ("revision of auth store is old", AuthExpired, "etcd's users have changed; try again later"),
    (
        "invalid user ID or password",
        StoreError,
        'etcd refuses the user or the password: see username and password_file of store "etcd"',
    ),
    (
        "authentication is not enabled",
        StoreError,
        'etcd has no users: leave username and password_file out of store "etcd"',
    ),
    (
        "user name is empty",
        StoreError,
        'etcd asks for a user: set username and password_file in store "etcd"',
    ),
    (
        "permission denied",
        StoreError,
        "etcd's user may not read and write all keys below the prefix: grant it a role that may",
    ),
    (
        "request is too large",
        StoreError,
        "the change is larger than etcd takes: raise --max-request-bytes of every member",
    ),
    (
        "too many operations in txn",
        StoreError,
        "etcd takes fewer operations than plugind needs: leave --max-txn-ops of etcd at 128",
    ),
    (
        "duplicate key given in txn",
        StoreError,
        "etcd refused a transaction that names a key twice; please report this",
    ),
)

_ELSEWHERE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
)
"""Status codes after which another member may succeed."""


def of_call(error: Any, address: str) -> StoreError | None:
    """Return the StoreError for an error of gRPC, None if another member may succeed."""
    return of_text(error.details() or "", address) or (
        None
        if error.code() in _ELSEWHERE
        else StoreError(f"etcd at {address} refused a call: {summary(error)}")
    )


def of_text(details: str, address: str) -> StoreError | None:
    """Return the StoreError for a message of etcd, None if the message is not known."""
    for part, kind, text in _KNOWN:
        if part in details:
            return kind(f"{text} ({address})")
    return None


def is_unsent(error: Any) -> bool:
    """Return whether a call that failed was certainly not done, because there was no token or no
    connection."""
    if isinstance(error, Unsent):
        return True
    details = error.details() or ""
    return error.code() == grpc.StatusCode.UNAVAILABLE and (
        "failed to connect to all addresses" in details
        or "connections to all backends failing" in details
        or "DNS resolution failed" in details
    )


def summary(error: Any) -> str:
    """Return an error of gRPC in a few words, on one line."""
    details = " ".join((error.details() or "").split())
    if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
        return "no answer in time"
    if "Peer name" in details or "Hostname Verification Check failed" in details:
        return "the certificate is for another name than the endpoint's"
    if "CERTIFICATE_VERIFY_FAILED" in details:
        return "its certificate is not signed by an authority in ca_file"
    if "handshake" in details.lower() or "SSL" in details:
        return "TLS failed: do the endpoint and this server agree on TLS and on certificates?"
    if "Socket closed" in details:
        return "the connection was closed: do the endpoint and this server agree on TLS (https://)?"
    if "Connection refused" in details:
        return "connection refused"
    if "DNS resolution failed" in details:
        return "the name cannot be resolved"
    return details[-200:] or str(error.code())
