"""Calls Probe of each CSI driver in a folder every 1.5 seconds, over persistent connections:
``python -m benchmarks.bare.prober FOLDER``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import grpc

from plugin_types.csi import csi_pb2, csi_pb2_grpc

INTERVAL = 1.5


def main() -> None:
    channels = [grpc.insecure_channel(f"unix:{path}") for path in Path(sys.argv[1]).glob("*.sock")]
    drivers = [csi_pb2_grpc.IdentityStub(channel) for channel in channels]
    due = time.monotonic()
    while True:
        for driver in drivers:
            driver.Probe(csi_pb2.ProbeRequest(), timeout=INTERVAL)
        due += INTERVAL
        time.sleep(max(due - time.monotonic(), 0))


if __name__ == "__main__":
    main()
