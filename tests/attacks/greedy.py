"""Nodes that report as much as they may, as fast as they can, in a separate process.

``python -m tests.attacks.greedy ADDRESS NODES KIND`` is under way once a report was answered, and
ignores Retry-After. ``KIND`` is one of ``KINDS``.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle

from plugind.schemas.nodes import INSTANCES_MAXIMUM
from plugind.wire.strict_json import VALUES_MAXIMUM
from tests.attacks.attacker import TOKEN, at_it
from tests.promises import PATIENCE

BODY = 8 * 2**20
HEADERS = {"X-Plugind-Node-Secret": "a greedy node's", "X-Nomad-Token": TOKEN}


def changing() -> list[bytes]:
    """Return reports with as many instances as allowed, each changed every time."""
    return [_full(state) for state in ("one state", "another state")]


def rejected() -> list[bytes]:
    """Return reports whose instances are all rejected, each time because of another text."""
    return [_full(state, "yes") for state in ("one state", "another state")]


def _full(state: str, healthy: object = True) -> bytes:
    topology = {"Segments": {"zone": "a"}}
    info = {"ID": "vm", "MaxVolumes": 39, "AccessibleTopology": topology, "SupportsStats": True}
    details = {"Provider": "greedy.example.com", "ProviderVersion": "1.0", "NodeInfo": info}
    plugins = {
        f"greedy{number}": {
            "node": {"Healthy": healthy, "HealthDescription": f"{state} {number}", **details}
        }
        for number in range(INSTANCES_MAXIMUM)
    }
    return json.dumps({"Name": "greedy", "Plugins": {"csi": plugins}}).encode()


def wide() -> list[bytes]:
    """Return a body of 8 MiB with as many values as allowed, each a different text."""
    number = VALUES_MAXIMUM - 100
    size = BODY // number - 4
    return [_around(b"[%b]" % b",".join(b'"%0*d"' % (size, each) for each in range(number)))]


def objects() -> list[bytes]:
    """Return a body of as many small objects as allowed; objects take the most memory of all
    values."""
    number = VALUES_MAXIMUM // 2 - 100
    return [_around(b"[%b]" % b",".join(b'{"%026d":{}}' % each for each in range(number // 2)))]


def deep() -> list[bytes]:
    """Return a body of lists nested as deep as allowed."""
    one = b"[" * 26 + b"]" * 26
    return [_around(b"[%b]" % b",".join([one] * (VALUES_MAXIMUM // 27 - 10)))]


def too_deep() -> list[bytes]:
    return [b"[" * BODY]


def too_many() -> list[bytes]:
    """Return a body of 8 MiB with ten times as many values as allowed."""
    return [_around(b"[%b]" % b",".join([b"0"] * (BODY // 2 - 100)))]


def commas() -> list[bytes]:
    """Return a body of 8 MiB that is one text, full of commas and escapes."""
    return [_around(b'"%b"' % (b",\\n" * (BODY // 3 - 100)))]


BODIES = (wide, objects, deep, too_deep, too_many, commas)
KINDS: dict[str, Callable[[], list[bytes]]] = {
    make.__name__: make for make in (changing, rejected, *BODIES)
}


def _around(value: bytes) -> bytes:
    return b'{"Name":"greedy","Plugins":{"csi":{"greedy":{"node":%b}}}}' % value


def report(address: str, bodies: list[bytes], counts: Counter[str], is_on: threading.Event) -> None:
    """Report as one node, forever."""
    path = f"/v1/node/{uuid.uuid4()}"
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    for each in cycle(bodies):
        with suppress(OSError):  # refused before all was sent: there may still be an answer
            connection.request("PUT", path, each, HEADERS)
        with suppress(OSError, http.client.HTTPException):
            answer = connection.getresponse()
            answer.read()
            counts[str(answer.status)] += 1
            is_on.set()
            continue
        connection.close()


def main(address: str, nodes: str, kind: str) -> None:
    counts: Counter[str] = Counter()
    bodies, is_on = KINDS[kind](), threading.Event()
    for _ in range(int(nodes)):
        given = (address, bodies, counts, is_on)
        threading.Thread(target=report, args=given, daemon=True).start()
    is_on.wait()
    at_it(counts)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
