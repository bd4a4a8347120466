"""One run: clients and faults at the same time, then the last reads, then the checker."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from plugind.model import NODE_DOWN
from plugind.model.times import parse_time
from tests.consistency.answers import happened, node_of, plugin_of
from tests.consistency.calls import Calls, Lost, Server
from tests.consistency.checker import check, report
from tests.consistency.clients import Client, Run
from tests.consistency.followers import Reader, StreamReader, Watcher
from tests.consistency.nemesis import Nemesis, TooThin
from tests.consistency.operations import (
    ACKNOWLEDGED,
    DEFAULT,
    NODES,
    PLUGINS,
    STALE,
    Happened,
    History,
)
from tests.consistency.rigs import Rig
from tests.consistency.violations import Violation
from tests.consistency.writers import Reporter, Sleeper
from tests.promises import PATIENCE, eventually

SETTLE = 20.0
"""Seconds within which streams reach the end of the history."""

LEAST = 60
"""Acknowledged writes and answered reads that a run needs; with fewer it proves nothing."""


def clients_of(run: Run, *, sleepers: int = 0) -> list[Client]:
    """Return the usual clients of a run."""
    first, *_ = map(plugin_of, run.plugins)
    topics = "topic=Plugin&topic=CSIPlugin"
    return [
        *(Reporter(f"reporter{n}", run) for n in range(4)),
        *(Sleeper(f"sleeper{n}", run) for n in range(sleepers)),
        *(Reader(f"reader{n}", run) for n in range(3)),
        Watcher("watcher of plugins", run, PLUGINS),
        Watcher("watcher of nodes", run, NODES),
        Watcher("watcher of a plugin", run, first),
        Watcher("stale watcher", run, first, STALE),
        *(StreamReader(f"stream{n}", run) for n in range(2)),
        StreamReader("stream of plugins", run, topics),
    ]


def drive(
    rig: Rig,
    seed: int,
    *,
    writes: int = 120,
    faults: int = 0,
    seconds: float = PATIENCE,
    sleepers: int = 0,
    wait: float = 8.0,
    make: Callable[[Run], Sequence[Client]] | None = None,
) -> list[Violation]:
    """Run clients on a rig until all ``faults`` are over or ``writes`` were acknowledged, for at
    most ``seconds``; return the violations. Raise TooThin if too little happened."""
    print(f"seed {seed}")
    history = History()
    run = Run(history, rig.servers, seed=seed, wait=wait, by_connection=rig.by_connection)
    clients = list(make(run) if make else clients_of(run, sleepers=sleepers))
    for client in clients:
        client.start()
    try:
        if faults:
            Nemesis(rig, history, seed).run(faults, time.monotonic() + seconds)
            _calm(rig, run)
        else:
            history.reaches(writes, seconds)
        _end(rig, run, clients)
    finally:
        _stop(run, clients)
    for client in clients:
        if client.error is not None:
            raise client.error
    rig.restart()
    _last_reads(rig, run)
    kept = {server.name: _kept(server, history) for server in rig.servers}
    violations = check(history, kept, rig.bounds)
    _thick(history)
    return violations


def _calm(rig: Rig, run: Run) -> None:
    """Let traffic continue for a moment after the last fault."""
    run.history.reaches(run.history.count + LEAST // 2, PATIENCE / 2)


def _end(rig: Rig, run: Run, clients: Sequence[Client]) -> None:
    """End the writers, then wait until the followers have had time to see the end."""
    run.is_written.set()
    for each in clients:
        if isinstance(each, Reporter):
            each.join(PATIENCE)
    written = [each.index for each in run.history.writes if each.status == ACKNOWLEDGED]
    run.history.newest = newest = max(written, default=1)
    begun = time.monotonic()
    streams = [each for each in clients if isinstance(each, StreamReader)]
    while time.monotonic() < begun + SETTLE:
        if all(each.follower.last >= newest for each in streams):
            break
        run.is_stopping.wait(0.05)
    run.is_stopping.wait(max(2 * rig.bounds.wake - (time.monotonic() - begun), 0.0))


def _stop(run: Run, clients: Sequence[Client]) -> None:
    """Stop all clients, including those that wait for an answer."""
    run.history.ended = time.monotonic()
    run.is_written.set()
    run.is_stopping.set()
    for each in clients:
        each.calls.abort()
    for each in clients:
        each.join(PATIENCE)
        assert not each.is_alive(), each.name


def _last_reads(rig: Rig, run: Run) -> None:
    """Read everything from every server, after all servers were restarted."""
    last = Run(run.history, rig.servers, run.plugins, run.seed)
    resources = [PLUGINS, NODES, *map(plugin_of, run.plugins), *map(node_of, run.history.nodes)]
    for server in rig.servers:
        client = Client(f"last reader of {server.name}", last)
        for resource in resources:
            eventually(partial(_is_read, client, server, resource))
        client.calls.close()


def _is_read(client: Client, server: Server, resource: str) -> bool:
    client.server = server  # a client changes its server after a failure
    return client.read(resource, DEFAULT).status == ACKNOWLEDGED


def _kept(server: Server, history: History) -> list[Happened]:
    """Return the history of instances in order, as a server returns it, and record the nodes that
    went down according to it."""
    rows = eventually(lambda: _history_rows(server))
    if not history.downs:
        history.downs = [
            (row["NodeID"], parse_time(row["Time"])) for row in rows if row["Event"] == NODE_DOWN
        ]
    return [each for each in map(happened, rows) if each is not None]


def _history_rows(server: Server) -> list[Mapping[str, Any]]:
    """Return all rows of history, oldest first; none if the server does not answer."""
    calls, rows, token = Calls(), list[Mapping[str, Any]](), ""
    try:
        while True:
            got = calls.call(server, "GET", f"/v1/history?next_token={token}", timeout=PATIENCE)
            if got.status != 200:
                return []
            rows += got.json
            if not (token := got.token):
                return rows[::-1]
    except Lost:
        return []
    finally:
        calls.close()


def _thick(history: History) -> None:
    """Raise TooThin if a run has too few answers."""
    reads = sum(each.status == ACKNOWLEDGED for each in history.reads)
    if history.count < LEAST or reads < LEAST:
        raise TooThin(f"{history.count} writes and {reads} reads, not {LEAST} of each")
    print(f"{history.count} writes, {reads} reads, {len(history.faults)} faults")


def is_sound(violations: Sequence[Violation]) -> None:
    """Fail with the violations of a run, if there are any."""
    assert not violations, report(violations)
