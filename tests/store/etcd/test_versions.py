"""The log warns of versions of etcd that lose writes, according to the version a member reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from plugind.store.etcd import EtcdStore
from plugind.store.etcd.rpc_pb2 import StatusResponse
from plugind.testing.stores import Rig
from tests.store.etcd.members import Member
from tests.store.etcd.test_faults import committed

STATUS = "/etcdserverpb.Maintenance/Status"
THREADS = 8


class Disguise(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Pass every call on to a member, but make the member report another version."""

    def __init__(self, channel: Any, version: str) -> None:
        self._channel = channel
        self._version = version

    def service(self, details: Any) -> Any:
        method = details.method

        def passed_on(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
            call = self._channel.stream_stream(method)(requests, timeout=context.time_remaining())
            context.add_callback(call.cancel)
            with suppress(grpc.RpcError):  # the client has ended the call
                for response in call:
                    yield self._disguised(response) if method == STATUS else response

        return grpc.stream_stream_rpc_method_handler(passed_on)

    def _disguised(self, response: bytes) -> bytes:
        status = StatusResponse.FromString(response)
        assert status.version
        status.version = self._version
        return status.SerializeToString()


@contextmanager
def disguised(member: Member, version: str) -> Iterator[str]:
    """Yield the address of a member that reports the given version."""
    with ThreadPoolExecutor(THREADS) as pool, grpc.insecure_channel(member.address) as channel:
        server = grpc.server(pool, [Disguise(channel, version)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


@pytest.mark.parametrize(
    ("version", "is_named"),
    [("3.5.0", True), ("3.5.2", True), ("3.5.3", False), ("3.4.35", False), ("3.6.1", False)],
)
def test_a_version_that_loses_writes_is_named_at_the_start(
    version: str,
    is_named: bool,
    etcd: Member,
    rig_on: Callable[..., Rig],
) -> None:
    rig = rig_on(etcd, EtcdStore)
    with disguised(etcd, version) as address, capture_logs() as log:
        store = rig.open(endpoints=[address, etcd.address])
        committed(store, 1)
        rig.shut(store)
    found = [each for each in log if "can lose writes when it is killed" in each["event"]]
    assert [(each["member"], each["version"]) for each in found] == [(address, version)] * is_named
