"""A small real server with a health service, for tests: ``python -m plugind_grpc_health.sample
SOCKET``."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import grpc

from plugind_grpc_health.health_pb2 import HealthCheckResponse
from plugind_grpc_health.health_pb2_grpc import (
    HealthServicer,
    add_HealthServicer_to_server,
)


class Sample(HealthServicer):
    """Answers for each service with its status in ``statuses``, but not before ``go`` is set."""

    def __init__(self, path: str) -> None:
        self.statuses = {"": HealthCheckResponse.SERVING}
        self.go = Event()
        self.go.set()
        self._server = grpc.server(ThreadPoolExecutor(4))
        add_HealthServicer_to_server(self, self._server)
        self._server.add_insecure_port(f"unix:{path}")
        self._server.start()

    def Check(self, request: Any, context: Any) -> Any:
        self.go.wait()
        if request.service not in self.statuses:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return HealthCheckResponse(status=self.statuses[request.service])

    def wait(self) -> None:
        self._server.wait_for_termination()

    def stop(self) -> None:
        self.go.set()
        self._server.stop(0).wait()


if __name__ == "__main__":
    Sample(sys.argv[1]).wait()
