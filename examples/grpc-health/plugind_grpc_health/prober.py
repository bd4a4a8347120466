"""Checks each service in the configuration: grpc.health.v1.Health/Check."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from plugind.fields import SECOND, format_duration
from plugind.plugin_type import Prober, Schedule
from plugind.toolbox import processes
from plugind_grpc_health.health_pb2 import HealthCheckRequest, HealthCheckResponse
from plugind_grpc_health.health_pb2_grpc import HealthStub
from plugind_grpc_health.settings import GrpcSettings, Service

_SERVING = HealthCheckResponse.SERVING
_WORDS_MAXIMUM = 500  # characters of a server's own error text that are passed on

_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.default_authority", "localhost"),  # some servers refuse a socket's path as a host
    # A service that comes back must be noticed within seconds; by default gRPC takes up to 120.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),  # no target shares another one's connection
)


@dataclass(frozen=True)
class Target:
    """A service with its plugin ID.

    Targets are compared with ``==``: one whose block has changed is closed and opened again.
    """

    id: str
    service: Service


class GrpcProber(Prober):
    """Keeps a channel for each service.

    ``probe`` is called for each target in the target's own thread, so a lock guards shared
    attributes.
    """

    def __init__(self, settings: GrpcSettings) -> None:
        self._settings = settings
        self._targets = {id: Target(id, service) for id, service in settings.service.items()}
        self._lock = threading.Lock()
        self._channels: dict[Target, grpc.Channel] = {}

    def discover(self) -> Mapping[str, Target]:
        """Return the targets by plugin ID, so that a service is shown even if no probe ever
        succeeds."""
        return self._targets

    def schedule(self, target: Target) -> Schedule:
        return target.service

    def probe(self, target: Target) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """Return the fingerprint. A problem is returned in it, not raised, because the ID is
        known."""
        found = {"Endpoint": target.service.endpoint, **self._check(target)}
        path = target.service.endpoint.removeprefix("unix:")
        if found["Healthy"] and path.startswith("/"):
            found["Process"] = processes.behind_socket("/" + path.lstrip("/"))
        return {(target.id, "node"): found}

    def close(self, target: Target) -> None:
        with self._lock:
            channel = self._channels.pop(target, None)
        if channel:
            channel.close()

    def _check(self, target: Target) -> dict[str, Any]:
        timeout = target.service.over(self._settings).probe_timeout
        question = HealthCheckRequest(service=target.service.service)
        try:
            answer = HealthStub(self._channel(target)).Check(question, timeout=timeout)
        except grpc.RpcError as error:
            words = f"Check failed: {error.code().name}: {error.details() or ''}"[:_WORDS_MAXIMUM]
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                words = f"no answer to Check within {format_duration(round(timeout * SECOND))}"
            return {"Healthy": False, "HealthDescription": words}
        names = HealthCheckResponse.ServingStatus.keys()
        status = names[answer.status] if 0 <= answer.status < len(names) else "UNKNOWN"
        healthy = answer.status == _SERVING
        words = "healthy" if healthy else f"the service says {status}"
        return {"Healthy": healthy, "HealthDescription": words, "Status": status}

    def _channel(self, target: Target) -> grpc.Channel:
        with self._lock:
            if target not in self._channels:
                made = grpc.insecure_channel(target.service.endpoint, options=_OPTIONS)
                self._channels[target] = made
            return self._channels[target]
