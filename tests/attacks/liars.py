"""Nodes that lie about the time and about who they are, in a separate process.

``python -m tests.attacks.liars ADDRESS NODES`` has NODES threads, and each reports as a node whose
plugin changes with each report, was last updated in 2262, and has a process that starts then. After
each report it tries to report as every other listed node, to send that node's heartbeat and to
remove that node, with a secret that is not that node's.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import uuid
from collections import Counter
from contextlib import closing
from itertools import count
from typing import Any

from tests.attacks.attacker import SOURCE, TOKEN, at_it

FAR = "2262-01-01T00:00:00Z"
NAME = "liar"


class Liar:
    """One node, and the connection that it uses."""

    def __init__(self, connection: http.client.HTTPConnection, counts: Counter[str]) -> None:
        self.connection = connection
        self.counts = counts
        self.node_id = str(uuid.uuid4())

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer, or None unless its status is 200; count it by method and status."""
        headers = {"X-Nomad-Token": TOKEN, "X-Plugind-Node-Secret": "a secret of another node"}
        self.connection.request(method, path, body and json.dumps(body), headers)
        answer = self.connection.getresponse()
        text = answer.read()
        self.counts[f"{method} {answer.status}"] += 1
        return json.loads(text) if answer.status == 200 else None

    def report(self, number: int) -> None:
        fingerprint = {"Healthy": True, "Provider": "lie", "ProviderVersion": f"{number}"}
        fingerprint |= {"UpdateTime": FAR, "AllocID": "process"}
        self.ask(
            "PUT",
            f"/v1/node/{self.node_id}",
            {
                "Name": NAME,
                "Plugins": {"csi": {"p0": {"node": fingerprint}}},
                "Allocations": {"process": {"Name": "driver", "CreateTime": 2**63 - 1}},
            },
        )

    def usurp(self) -> None:
        """Try to impersonate every other node."""
        for row in self.ask("GET", "/v1/nodes"):
            if row["Name"] != NAME:
                path = f"/v1/node/{row['ID']}"
                self.ask("PUT", path, {"Name": "usurped", "Plugins": {"csi": {}}})
                self.ask("PUT", f"{path}/heartbeat", {"Digest": "x"})
                self.ask("DELETE", path)


def lie(address: str, counts: Counter[str], is_on: threading.Event) -> None:
    """Report false times and try other nodes' IDs, forever."""
    with closing(http.client.HTTPConnection(address, None, 60, (SOURCE, 0))) as connection:
        liar = Liar(connection, counts)
        for number in count():
            liar.report(number)
            liar.usurp()
            is_on.set()


def main(address: str, nodes: str) -> None:
    counts: Counter[str] = Counter()
    is_on = threading.Event()
    for _ in range(int(nodes)):
        threading.Thread(target=lie, args=(address, counts, is_on), daemon=True).start()
    is_on.wait()
    at_it(counts)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
