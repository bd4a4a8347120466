"""Calls to etcd: one channel per member; if a member does not answer, the next one is tried.

gRPC's own load balancing recognizes only dead members: a paused one would still get its share of
the calls, and hold each until its deadline. So each member has a channel of its own
(https://grpc.io/docs/guides/wait-for-ready). This module turns everything that gRPC raises into a
StoreError of one line.
"""

# mypy: allow-untyped-calls
# The stubs that grpcio-tools makes have no types.

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc

from plugind import logs
from plugind.errors import StoreError
from plugind.store.etcd.failures import (
    AuthExpired,
    Unanswered,
    Unsent,
    is_unsent,
    of_call,
    summary,
)
from plugind.store.etcd.rpc_pb2 import (
    AuthenticateRequest,
    StatusRequest,
)
from plugind.store.etcd.rpc_pb2_grpc import (
    AuthStub,
    KVStub,
    LeaseStub,
    MaintenanceStub,
    WatchStub,
)
from plugind.store.etcd.settings import EtcdSettings

CALL_SECONDS = 1.0
"""Seconds that one member has to answer a call."""

SKIP_SECONDS = 5.0
"""Seconds for which a member that did not answer in time is skipped."""

_log = logs.get("store")

_OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),  # etcd closes connections with a shorter one
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),  # also limits an attempt to connect
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
]


class Member:
    """One endpoint with its channel; ``skipped_until`` is a time on the monotonic clock."""

    def __init__(self, address: str, credentials: Any) -> None:
        self.address = address
        self.skipped_until = 0.0
        if credentials is None:
            self.channel = grpc.insecure_channel(address, options=_OPTIONS)
        else:
            self.channel = grpc.secure_channel(address, credentials, options=_OPTIONS)
        self.auth = AuthStub(self.channel)
        self.watch = WatchStub(self.channel)
        kv, lease = KVStub(self.channel), LeaseStub(self.channel)
        self.calls: dict[str, Callable[..., Any]] = {
            "Range": kv.Range,
            "Txn": kv.Txn,
            "Compact": kv.Compact,
            "LeaseGrant": lease.LeaseGrant,
            "LeaseRevoke": lease.LeaseRevoke,
            "LeaseKeepAlive": lease.LeaseKeepAlive,
            "Status": MaintenanceStub(self.channel).Status,
        }

    def skip(self) -> None:
        """Skip this member for SKIP_SECONDS."""
        self.skipped_until = time.monotonic() + SKIP_SECONDS


class Client:
    """Calls etcd for one store. Thread-safe."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        credentials = _credentials(settings)
        self._members = [Member(each, credentials) for each in settings.addresses]
        self._lock = threading.Lock()
        self._preferred = 0
        self._token = ""
        self.answered_at = 0.0
        """When a majority of members last answered, on the monotonic clock."""

    def call(self, name: str, request: Any, seconds: float = CALL_SECONDS) -> Any:
        """Call one of the methods in ``Member.calls`` and return the response.

        Raise StoreError if a member refuses the call. Raise Unanswered if no member answers: it
        says whether the call may have been done anyway.
        """
        failures: list[str] = []
        is_unknown = False
        for member in self.members():
            try:
                response = self._answered(member, name, request, seconds)
                if name != "Status":  # a member answers Status on its own
                    self.answered_at = time.monotonic()
                return response
            except StoreError as error:
                if not is_unknown:
                    raise
                # An earlier member, which gave no answer, may have done what this one refuses.
                failures.append(str(error))
            except grpc.RpcError as error:
                failures.append(f"{member.address}: {summary(error)}")
                is_unknown = is_unknown or not is_unsent(error)
                if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                    _log.warning("a member of etcd does not answer in time", member=member.address)
                    member.skip()
        raise Unanswered("; ".join(failures), may_be_done=is_unknown)

    def _answered(self, member: Member, name: str, request: Any, seconds: float) -> Any:
        """Return the response of one member. Raise RpcError if another member may succeed, else
        StoreError."""
        for is_last in (False, True):
            metadata = self.metadata(member)
            try:
                response = _called(member, name, request, seconds, metadata)
            except grpc.RpcError as error:
                failure = of_call(error, member.address)
                if isinstance(failure, AuthExpired) and not is_last and self._settings.username:
                    self._forget(metadata)
                    continue
                if failure is not None:
                    raise failure from error
                raise
            self._prefer(member)
            return response
        raise AssertionError("the second try returns or raises")

    def members(self) -> Iterator[Member]:
        """Yield the members in the order in which they should be tried."""
        with self._lock:
            first = self._preferred
        order = self._members[first:] + self._members[:first]
        now = time.monotonic()
        yield from [each for each in order if each.skipped_until <= now] or order

    def _prefer(self, member: Member) -> None:
        with self._lock:
            self._preferred = self._members.index(member)

    def metadata(self, member: Member) -> tuple[tuple[str, str], ...]:
        """Return the metadata of a call: the token, if a user is configured."""
        if not self._settings.username:
            return ()
        with self._lock:
            token = self._token
        return (("token", token or self._authenticated(member)),)

    def _authenticated(self, member: Member) -> str:
        settings = self._settings
        password = _read(settings.password_file, "password_file").decode().rstrip("\r\n")
        request = AuthenticateRequest(name=settings.username, password=password)
        try:
            token = str(member.auth.Authenticate(request, timeout=CALL_SECONDS).token)
        except grpc.RpcError as error:
            if (failure := of_call(error, member.address)) is not None:
                raise failure from error
            raise Unsent(error) from error
        with self._lock:
            self._token = token
        return token

    def _forget(self, metadata: tuple[tuple[str, str], ...]) -> None:
        with self._lock:
            if (("token", self._token),) == metadata:
                self._token = ""

    def renew_token(self) -> None:
        """Drop the token, so that the next call fetches a new one, after a stream was refused."""
        with self._lock:
            self._token = ""

    def versions(self) -> dict[str, str]:
        """Return the version of each member that answers."""
        found = {}
        for member in self._members:
            try:
                status = self._answered(member, "Status", StatusRequest(), CALL_SECONDS)
            except (StoreError, grpc.RpcError):
                continue
            found[member.address] = str(status.version)
        return found

    def close(self) -> None:
        for member in self._members:
            member.channel.close()


def _called(
    member: Member, name: str, request: Any, seconds: float, metadata: tuple[tuple[str, str], ...]
) -> Any:
    method = member.calls[name]
    if name != "LeaseKeepAlive":
        return method(request, timeout=seconds, metadata=metadata)
    # A stream that takes one request and gives one response.
    stream = method(iter([request]), timeout=seconds, metadata=metadata)
    try:
        return next(stream)
    except StopIteration:
        raise StoreError("etcd ended a stream without an answer; try again later") from None
    finally:
        stream.cancel()


def _credentials(settings: EtcdSettings) -> Any:
    if not settings.is_secure:
        return None
    ca, cert, key = (
        _read(path, name) if path else None
        for path, name in (
            (settings.ca_file, "ca_file"),
            (settings.cert_file, "cert_file"),
            (settings.key_file, "key_file"),
        )
    )
    return grpc.ssl_channel_credentials(ca, key, cert)


def _read(path: str, setting: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise StoreError(f'{path} ({setting} of store "etcd"): {error.strerror}') from error
