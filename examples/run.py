"""Runs what ``make run`` shows: a server, an agent and two sample drivers, until Ctrl-C.

Every part is a process of its own, as on a real machine, and all of them end with this one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

DRIVERS = {
    "ebs0": ["--exit-with-stdin", "--name", "ebs.sample.plugind", "--topology", "zone=zone-a"],
    "nfs": ["--exit-with-stdin", "--name", "nfs.sample.plugind", "--no-controller"],
}
HINT = """
Two sample drivers are running. In another terminal:

  curl 'http://127.0.0.1:{port}/v1/plugins?type=csi'
  {plugind} plugin status
  {plugind} csi-tell --socket {socket} fail 'disk on fire'

Ctrl-C ends all of it.
"""


def main() -> int:
    """Starts everything; returns the exit status of ``plugind agent``."""
    agents: list[subprocess.Popen[bytes]] = []
    asked: list[int] = []

    def end(number: int, frame: object) -> None:
        asked.append(number)
        for process in agents:
            process.terminate()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    plugind = Path(sys.executable).with_name("plugind")
    with tempfile.TemporaryDirectory(prefix="plugind-run-") as name:
        folder = Path(name)
        drivers = [
            subprocess.Popen(
                [plugind, "csi-sample", "--socket", folder / f"{id_}.sock", *options],
                stdin=subprocess.PIPE,
            )
            for id_, options in DRIVERS.items()
        ]
        environ = {**os.environ, "PLUGIND_PLUGIN_TYPE_CSI_SOCKETS": str(folder / "*.sock")}
        agent = subprocess.Popen([plugind, "agent", "--dev", *sys.argv[1:]], env=environ)
        agents.append(agent)
        if asked:  # before there was anybody to tell
            agent.terminate()
        port = environ.get("PLUGIND_PORTS_HTTP", "4646")
        print(HINT.format(port=port, plugind=plugind, socket=folder / "ebs0.sock"), flush=True)
        status = agent.wait()
        for driver in drivers:
            driver.communicate()  # closes its standard input, which ends it
    return status if status >= 0 else 130


if __name__ == "__main__":
    sys.exit(main())
