"""Many small CSI drivers in one process: ``python -m benchmarks.drivers FOLDER COUNT``.

Each has its own socket ``FOLDER/driver-NUMBER.sock`` and its own gRPC server.
"""

from __future__ import annotations

import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from plugin_types.csi import csi_pb2_grpc
from plugin_types.csi.behaviour import Behaviour
from plugin_types.csi.sample import Sample

_THREADS = 16


def main() -> None:
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    threads = ThreadPoolExecutor(_THREADS)
    servers = []
    for number in range(count):
        name = f"driver-{number}"
        sample = Sample(Behaviour(f"{name}.csi.example.com", "v1.7.3", "i-0123456789abcdef0"))
        server = grpc.server(threads, options=(("grpc.so_reuseport", 0),))
        csi_pb2_grpc.add_IdentityServicer_to_server(sample, server)
        csi_pb2_grpc.add_ControllerServicer_to_server(sample, server)
        csi_pb2_grpc.add_NodeServicer_to_server(sample, server)
        server.add_insecure_port(f"unix:{folder}/{name}.sock")
        server.start()
        servers.append(server)
    signal.pause()


if __name__ == "__main__":
    main()
