"""A fleet of simulated agents in a separate process: real HTTP, no probing.

``python -m tests.attacks.agents SERVER COUNT RAMP SECONDS SPREAD`` runs COUNT agents for SECONDS.
Each reports once to the server at HOST:PORT, the first reports spread over RAMP seconds, and then
sends heartbeats as the time to live of its last answer requires. With SPREAD "spread" each agent
has its own address of 127.0.0.0/8, with "one" all share one address. The results are printed as one
line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
import uuid
from collections import Counter
from typing import Any

SECOND = 1_000_000_000
BEATS_PER_TTL = 3
TIMEOUT = 10.0


class Fleet:
    """The agents, and the outcomes of their requests."""

    def __init__(self, server: str, seconds: float, spread: bool) -> None:
        self.host, _, port = server.partition(":")
        self.port = int(port)
        self.end = time.monotonic() + seconds
        self.spread = spread
        self.statuses: Counter[str] = Counter()
        self.ttls: list[int] = []
        self.beats: list[float] = []
        self.slowest = 0.0

    async def live(self, number: int, delay: float) -> None:
        """Run one agent."""
        await asyncio.sleep(delay)
        node, digest, wait = str(uuid.UUID(int=number + 1)), "", 0.0
        while time.monotonic() + wait < self.end:
            await asyncio.sleep(wait)
            if digest:
                self.beats.append(time.monotonic())
                path, body = f"/v1/node/{node}/heartbeat", {"Digest": digest}
            else:
                path, body = f"/v1/node/{node}", report(number)
            started = time.monotonic()
            status, answer = await self.put(number, path, body)
            self.slowest = max(self.slowest, time.monotonic() - started)
            self.statuses[status] += 1
            if status == "200":
                digest, ttl = answer["Digest"], answer["HeartbeatTTL"]
                self.ttls.append(ttl)
                wait = random.uniform(0.8, 1.0) * ttl / SECOND / BEATS_PER_TTL
            else:
                digest, wait = ("" if status == "409" else digest), random.uniform(0.2, 2.0)

    async def put(self, number: int, path: str, body: Any) -> tuple[str, Any]:
        """Return the status and the body of an answer; the name of the error instead if no answer
        came."""
        local = None
        if self.spread:
            local = (f"127.{number // 62500 + 1}.{number // 250 % 250 + 1}.{number % 250 + 1}", 0)
        data = json.dumps(body).encode()
        head = (
            f"PUT {path} HTTP/1.1\r\nHost: x\r\nX-Plugind-Node-Secret: secret-{number:040}\r\n"
            f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
        )
        writer = None
        try:
            async with asyncio.timeout(TIMEOUT):
                reader, writer = await asyncio.open_connection(
                    self.host, self.port, local_addr=local
                )
                writer.write(head.encode() + data)
                answer = await reader.read()
            top, _, content = answer.partition(b"\r\n\r\n")
            status = top.split(b" ", 2)[1].decode()
            return status, json.loads(content) if status == "200" else None
        except (OSError, TimeoutError, IndexError, ValueError) as error:
            return type(error).__name__, None
        finally:
            if writer is not None:
                writer.close()

    async def run(self, count: int, ramp: float) -> None:
        await asyncio.gather(*(self.live(each, ramp * each / count) for each in range(count)))

    def summary(self) -> dict[str, Any]:
        """Return the results; heartbeats per second are those of the last third of the run."""
        since = self.end - (self.end - min(self.beats, default=self.end)) / 3
        late = sum(beat >= since for beat in self.beats)
        return {
            "statuses": dict(self.statuses),
            "beats": len(self.beats),
            "beats_per_second": round(late / max(self.end - since, 1e-9), 1),
            "longest_ttl": max(self.ttls, default=0) / SECOND,
            "slowest": round(self.slowest, 3),
        }


def report(number: int) -> dict[str, Any]:
    """Return the report of a machine with two drivers."""
    healthy = {"Healthy": True, "Provider": "ebs.csi.aws.com", "ProviderVersion": "1.0"}
    plugins = {"ebs0": {"node": healthy}, "efs0": {"node": healthy}}
    return {
        "Name": f"vm{number}",
        "Datacenter": "dc1",
        "Version": "0.1.0",
        "RunID": str(uuid.UUID(int=number + 1)),
        "Plugins": {"csi": plugins},
    }


def main(server: str, count: str, ramp: str, seconds: str, spread: str) -> None:
    fleet = Fleet(server, float(seconds), spread == "spread")
    asyncio.run(fleet.run(int(count), float(ramp)))
    print(json.dumps(fleet.summary()))


if __name__ == "__main__":
    main(*sys.argv[1:])
