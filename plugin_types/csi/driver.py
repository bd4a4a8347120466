"""The gRPC client of one CSI driver: makes several calls at once, under one deadline.

This module is the boundary to gRPC: errors are returned as a ``Refusal``, never raised.
"""

# mypy: allow-untyped-calls
# The stubs that grpcio-tools generates have no types.

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import grpc

from plugin_types.csi import csi_pb2, csi_pb2_grpc

PROBE = "Probe"
PLUGIN_INFO = "GetPluginInfo"
PLUGIN_CAPABILITIES = "GetPluginCapabilities"
CONTROLLER_CAPABILITIES = "ControllerGetCapabilities"
NODE_CAPABILITIES = "NodeGetCapabilities"
NODE_INFO = "NodeGetInfo"

WORDS_MAXIMUM = 500
"""Characters of a driver's own text that are passed on."""

_LAST_LOOK = 0.5
"""Seconds within which gRPC's polling thread, which checks a channel's state every 0.2 s, has ended
once nothing is subscribed to that state."""

_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    # Some servers refuse the path of a socket as a host name.
    ("grpc.default_authority", "localhost"),
    # A driver that comes back must be noticed within seconds; by default this takes up to 120 s.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Otherwise an unused connection goes idle, which looks like a lost connection.
    ("grpc.client_idle_timeout_ms", 2**31 - 1),
    # Otherwise a new channel shares the old one's connection, and its backoff.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True)
class Refusal:
    """A call without an answer: the call, its gRPC status, and the driver's text in one line.

    ``late`` means that the deadline passed, so the status is not the driver's.
    """

    call: str
    code: grpc.StatusCode
    words: str
    late: bool = False

    def __str__(self) -> str:
        words = f": {self.words}" if self.words else ""
        return f"{self.call} failed: {self.code.name}{words}"


class Driver:
    """The driver behind the socket at ``path``.

    ``lost`` is called in one of gRPC's threads when the connection is lost. Only one thread may
    ask; any thread may close.
    """

    def __init__(self, path: str, lost: Callable[[], None]) -> None:
        self._path = path
        self._lost = lost
        self._lock = threading.Lock()
        self._closed = False
        self._connection = _Connection(path, lost, at_once=False)

    @property
    def connected(self) -> bool:
        return self._connection.epoch is not None

    @property
    def epoch(self) -> object | None:
        """Return an object that stands for the current connection: a new one after each loss.

        None while there is no connection, or while gRPC has not reported it yet.
        """
        return self._connection.epoch

    def ask(self, calls: Iterable[str], timeout: float) -> dict[str, Any]:
        """Return the answer to each call, or a Refusal.

        All calls are made at once: together they take no longer than the slowest, and at most
        ``timeout`` seconds.
        """
        return self._connection.ask(calls, timeout)

    def reconnect(self, timeout: float) -> None:
        """Connect again, without the backoff of earlier failures, and wait for the outcome, at most
        ``timeout`` seconds."""
        with self._lock:
            if self._closed:
                return
            self._connection.close()
            self._connection = _Connection(self._path, self._lost, at_once=True)
        self._connection.settled.wait(timeout)

    def close(self) -> None:
        """Close the connection, without waiting; calls in progress return Refusals."""
        with self._lock:
            self._closed = True
            self._connection.close()


class _Connection:
    """One gRPC channel, which connects ``at_once`` or at the first call.

    ``settled`` is set once an attempt to connect has succeeded or failed; ``epoch`` is a new object
    each time the channel is connected, and None while it is not.
    """

    def __init__(self, path: str, lost: Callable[[], None], *, at_once: bool) -> None:
        self.epoch: object | None = None
        self._lost = lost
        self.settled = threading.Event()
        self._pending: Mapping[str, Any] = {}
        self._is_closed = False
        self._channel = grpc.insecure_channel(f"unix:{quote(os.fsencode(path))}", options=_OPTIONS)
        self._calls = _calls(self._channel)
        self._channel.subscribe(self._on_state, try_to_connect=at_once)

    def ask(self, calls: Iterable[str], timeout: float) -> dict[str, Any]:
        try:
            self._pending = pending = {
                call: self._calls[call][0].future(self._calls[call][1], timeout=timeout)
                for call in calls
            }
        except ValueError:  # the channel has been closed in the meantime
            return {call: Refusal(call, grpc.StatusCode.CANCELLED, "") for call in calls}
        if self._is_closed:
            self._cancel()
        return {call: _outcome(call, future) for call, future in pending.items()}

    def close(self) -> None:
        self._is_closed = True
        self._channel.unsubscribe(self._on_state)
        self._cancel()
        threading.Thread(target=self._close_unwatched, daemon=True).start()

    def _close_unwatched(self) -> None:
        # gRPC's thread that polls the state fails if the channel is closed between two polls.
        time.sleep(_LAST_LOOK)
        self._channel.close()

    def _cancel(self) -> None:
        for future in self._pending.values():
            future.cancel()

    def _on_state(self, state: grpc.ChannelConnectivity) -> None:
        if state is grpc.ChannelConnectivity.SHUTDOWN:
            return
        was, connected = self.epoch, state is grpc.ChannelConnectivity.READY
        self.epoch = (was or object()) if connected else None
        if connected or state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            self.settled.set()
        if was and not connected:
            self._lost()


def _calls(channel: grpc.Channel) -> Mapping[str, tuple[Any, Any]]:
    """Return the method and the request of each call, by name."""
    identity = csi_pb2_grpc.IdentityStub(channel)
    controller = csi_pb2_grpc.ControllerStub(channel)
    node = csi_pb2_grpc.NodeStub(channel)
    return {
        PROBE: (identity.Probe, csi_pb2.ProbeRequest()),
        PLUGIN_INFO: (identity.GetPluginInfo, csi_pb2.GetPluginInfoRequest()),
        PLUGIN_CAPABILITIES: (
            identity.GetPluginCapabilities,
            csi_pb2.GetPluginCapabilitiesRequest(),
        ),
        CONTROLLER_CAPABILITIES: (
            controller.ControllerGetCapabilities,
            csi_pb2.ControllerGetCapabilitiesRequest(),
        ),
        NODE_CAPABILITIES: (node.NodeGetCapabilities, csi_pb2.NodeGetCapabilitiesRequest()),
        NODE_INFO: (node.NodeGetInfo, csi_pb2.NodeGetInfoRequest()),
    }


def _outcome(call: str, future: Any) -> Any:
    code = future.code()
    if code is grpc.StatusCode.OK:
        return future.result()
    # A driver may return this status for a deadline of its own.
    late = code is grpc.StatusCode.DEADLINE_EXCEEDED and future.time_remaining() < 0.05
    words = " ".join(str(future.details() or "").split())
    if len(words) > WORDS_MAXIMUM:
        words = f"{words[: WORDS_MAXIMUM - 1]}…"
    return Refusal(call, code, words, late)
