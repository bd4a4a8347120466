"""Load from wrk, which uses less processor time than any of the measured servers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import Server

WRK = "wrk"
LUA = Path(__file__).parent / "lua"
_ENDS_AFTER = 30  # seconds that wrk may take in addition to its run


@dataclass(frozen=True)
class Load:
    """The results of wrk: requests served per second, microseconds of the server's processor time
    for each request, and the number of refused requests."""

    rate: float
    cpu: float
    refused: int


def wrk(
    server: Server,
    path: str = "/",
    *,
    seconds: int,
    connections: int,
    headers: Mapping[str, str] | None = None,
    script: str = "done",
    arguments: Sequence[str] = (),
) -> Load:
    """Load a server for some seconds with one thread and keep-alive connections. Raise RuntimeError
    when connections break."""
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    options += ["-s", str(LUA / f"{script}.lua")]
    for name, value in (headers or {}).items():
        options += ["-H", f"{name}: {value}"]
    before = server.cpu()
    done = subprocess.run(
        [WRK, *options, server.url + path, "--", *arguments],
        capture_output=True,
        text=True,
        timeout=seconds + _ENDS_AFTER,
        check=True,
    )
    cpu = server.cpu() - before
    got = json.loads(done.stdout.strip().splitlines()[-1])
    if got["broken"]:
        raise RuntimeError(f"{got['broken']} connections to {server.url}{path} broke")
    served = got["requests"] - got["refused"]
    return Load(
        rate=served / got["microseconds"] * 1e6,
        cpu=cpu / max(got["requests"], 1) * 1e6,
        refused=got["refused"],
    )
