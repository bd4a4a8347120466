"""Nodes of one token that store as much as they may, in a separate process.

``python -m tests.attacks.filler ADDRESS KIND`` registers nodes that report as many instances as one
report may hold, until the server accepts no more. From then on the attack is under way: it reports
what cannot be stored and reads the lists, without pause. ``KIND`` is one of ``KINDS``.
"""

from __future__ import annotations

import http.client
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import count, cycle
from typing import Any

import orjson

from tests.attacks.attacker import TOKEN, at_it

HEADERS = {"X-Plugind-Node-Secret": "a filler's secret", "X-Nomad-Token": TOKEN}
LISTS = ("/v1/plugins?type=csi", "/v1/nodes", "/v1/nodes?os=true&resources=true")
FULL = 8
"""The server counts as full after this many reports in a row that stored nothing."""

PAUSE = 0.05  # seconds, which is short compared with an honest fleet


def texts(node: int) -> dict[str, Any]:
    """Return a report of instances with long texts, each of the largest size allowed."""
    return _instances(node, 100, {f"k{n}": f"{node:08}" + "x" * 1_000 for n in range(50)})


def wide(node: int) -> dict[str, Any]:
    """Return a report of texts whose characters take four bytes of memory each."""
    return _instances(node, 100, {f"k{n}": f"{node:08}" + "\U0001f525" * 980 for n in range(7)})


def values(node: int) -> dict[str, Any]:
    """Return a report of instances of many small values."""
    return _instances(node, 200, {f"{node:08}{n}": f"{node}" for n in range(250)})


def small(node: int) -> dict[str, Any]:
    """Return a report of as many small instances as allowed."""
    return _instances(node, 4_000, {"zone": f"{node}"})


def meta(node: int) -> dict[str, Any]:
    """Return a report of a node with as much in its attributes and meta as allowed."""
    pairs = {f"{node:08}k{n}": "x" * 220 for n in range(125)}
    return {"Name": f"filler{node}", "Attributes": pairs, "Meta": pairs, "Plugins": {}}


def _instances(node: int, number: int, segments: dict[str, str]) -> dict[str, Any]:
    info = {"ID": f"{node}", "AccessibleTopology": {"Segments": segments}}
    fingerprint = {"Healthy": True, "Provider": "filler.example.com", "NodeInfo": info}
    plugins = {f"filler{node}-{each}": {"node": fingerprint} for each in range(number)}
    return {"Name": f"filler{node}", "Plugins": {"csi": plugins}}


KINDS: dict[str, Callable[[int], dict[str, Any]]] = {
    make.__name__: make for make in (texts, wide, values, small, meta)
}


def report(
    connection: http.client.HTTPConnection, body: bytes, counts: Counter[str]
) -> dict[str, Any] | None:
    """Send a report of a new node; return the answer, or None if the server did not accept the
    report."""
    with suppress(OSError):  # refused before all was sent: the answer can still be read
        connection.request("PUT", f"/v1/node/{uuid.uuid4()}", body, HEADERS)
    answer = connection.getresponse()
    text = answer.read()
    counts[str(answer.status)] += 1
    return orjson.loads(text) if answer.status == 200 else None


def fill(address: str, make: Callable[[int], dict[str, Any]], counts: Counter[str]) -> None:
    """Register nodes until several in a row have stored nothing."""
    refused = 0
    with closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        for node in count(1):
            report_ = make(node)
            accepted = report(connection, orjson.dumps(report_), counts)
            wanted = len(report_["Plugins"].get("csi", ()))
            is_full = accepted is None or len(accepted["Rejected"]) >= max(1, wanted)
            refused = refused + 1 if is_full else 0
            if refused == FULL:
                return


def read(address: str, counts: Counter[str]) -> None:
    """Read the lists forever."""
    with closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        for path in cycle(LISTS):
            connection.request("GET", path, headers=HEADERS)
            answer = connection.getresponse()
            answer.read()
            counts[str(answer.status)] += 1


def go_on(address: str, make: Callable[[int], dict[str, Any]], counts: Counter[str]) -> None:
    """Report values that cannot be stored, forever."""
    with closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        while True:
            report(connection, orjson.dumps(make(0)), counts)
            time.sleep(PAUSE)


def main(address: str, kind: str) -> None:
    counts: Counter[str] = Counter()
    fill(address, KINDS[kind], counts)
    for each in (
        threading.Thread(target=read, args=(address, counts), daemon=True),
        threading.Thread(target=go_on, args=(address, KINDS[kind], counts), daemon=True),
    ):
        each.start()
    at_it(counts)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
