"""Send plain requests one after the other from a separate process, and time each of them.

``python -m benchmarks.asking PORT PATH`` begins when it reads a line, and ends with its input.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

from benchmarks.servers import ROOT


def main() -> None:
    port, path = int(sys.argv[1]), sys.argv[2]
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    took: list[float] = []

    def ask() -> None:
        began = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path} was answered {answer.status}")
        took.append((time.perf_counter() - began) * 1000)

    for _ in range(20):
        ask()
    print("ready", flush=True)
    sys.stdin.readline()
    took.clear()
    is_over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), is_over.set()), daemon=True).start()
    ask()  # at least one, even if a small crowd was answered before the first request
    while not is_over.is_set():
        ask()
    print(json.dumps(took))


@contextmanager
def asking(port: int, path: str) -> Iterator[list[float]]:
    """Send requests while the block runs; after it the list has the milliseconds of each."""
    command = [sys.executable, "-m", "benchmarks.asking", str(port), path]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environ
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        took: list[float] = []
        try:
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"no plain request was answered: {process.communicate()[1]}")
            process.stdin.write("go\n")
            process.stdin.flush()
            yield took
        except BaseException:
            process.kill()
            raise
        output, errors = process.communicate()
        if process.returncode:
            raise RuntimeError(f"plain requests failed: {errors}")
        took.extend(json.loads(output))


if __name__ == "__main__":
    main()
