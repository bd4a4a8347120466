"""Run the demonstration of ``make run``: a server, an agent and two sample drivers, until Ctrl-C.

The server and the agent share one process, each driver has its own, and all of them end with this
one. Once the server lists both drivers, commands to try in another terminal are printed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import BinaryIO

from plugind.client import Client
from plugind.errors import ClientError

DRIVERS = {
    "ebs0": ["--exit-with-stdin", "--name", "ebs.sample.plugind", "--topology", "zone=zone-a"],
    "nfs": ["--exit-with-stdin", "--name", "nfs.sample.plugind", "--no-controller"],
}
ADDRESS = re.compile(r"\baddress\W{1,4}(http://[^\s\"]+)")
HINT = """
Two sample drivers are running, and the server lists both. In a browser:

  {address}/ui/

In another terminal:
{elsewhere}
  curl -s '{address}/v1/plugins?type=csi'
  {plugind} plugin status
  {plugind} csi-tell --socket {folder}/ebs0.sock fail 'disk on fire'
  {plugind} plugin status
  {plugind} csi-tell --socket {folder}/ebs0.sock ok
  {plugind} plugin status --watch

Ctrl-C ends all of it.
"""


def main() -> int:
    """Start everything; return the exit status of ``plugind agent``."""
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
                stdout=subprocess.PIPE,
                text=True,
            )
            for id_, options in DRIVERS.items()
        ]
        for driver in drivers:  # each prints one line once it is ready
            assert driver.stdout is not None
            print(driver.stdout.readline(), end="", flush=True)
        environ = {**os.environ, "PLUGIND_PLUGIN_TYPE_CSI_SOCKETS": str(folder / "*.sock")}
        agent = subprocess.Popen(
            [plugind, "agent", "--dev", *sys.argv[1:]], env=environ, stderr=subprocess.PIPE
        )
        agents.append(agent)
        if asked:  # a signal came before the agent was there to be ended
            agent.terminate()
        assert agent.stderr is not None
        threading.Thread(target=pass_on, args=(agent.stderr, plugind, folder), daemon=True).start()
        status = agent.wait()
        for driver in drivers:
            driver.communicate()  # closes its standard input, which ends it
    return status if status >= 0 else 130


def pass_on(log: BinaryIO, plugind: Path, folder: Path) -> None:
    """Copy the agent's log to standard error; print the hint for the address that is in it."""
    is_hinted = False
    for line in log:
        sys.stderr.buffer.write(line)
        sys.stderr.flush()
        found = ADDRESS.search(line.decode(errors="replace"))
        if found and not is_hinted:
            is_hinted = True
            arguments = (found[1], plugind, folder)
            threading.Thread(target=hint, args=arguments, daemon=True).start()


def hint(address: str, plugind: Path, folder: Path) -> None:
    """Wait until the server lists all drivers, then print commands to try."""
    with Client(address) as client:
        index = 0
        try:
            while True:
                answer = client.plugins("csi", index=index)
                if DRIVERS.keys() <= {row["ID"] for row in answer.value}:
                    break
                index = answer.index
        except ClientError:  # the server is ending, or has ACLs: the hint would not work
            return
    elsewhere = "" if address.endswith(":4646") else f"\n  export PLUGIND_ADDR={address}"
    words = {"address": address, "plugind": plugind, "folder": folder, "elsewhere": elsewhere}
    print(HINT.format(**words), flush=True)


if __name__ == "__main__":
    sys.exit(main())
