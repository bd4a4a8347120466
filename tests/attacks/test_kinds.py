"""One attack of each kind, and more of them in the long runs: other clients notice little of it.

The kinds are those of docs/limits.md. Each attack runs in a separate process, and prints its row of
the table there (``pytest -s``). Attacks on the server are run against each HTTP server.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from plugind.client import Client
from plugind.serve.front import GRANIAN, KINDS, WAITRESS
from plugind.wire.fields import parse_time
from tests.attacks import filler, greedy, neighbour, processes, readers
from tests.attacks.attacker import SOURCE, attack
from tests.attacks.liars import NAME
from tests.attacks.measuring import PATH
from tests.attacks.stand import Stand, stand
from tests.processes import alive
from tests.promises import promised
from tests.support import eventually

HERE = "127.0.0.1"
"""The address of the honest clients."""

ONE = "/v1/plugin/csi/p100"
"""The path to read if an attack makes the list longer."""

STREAM = "/v1/event/stream?index=1&topic=CSIPlugin"

pytestmark = pytest.mark.timeout(600)


EVERYWHERE, OFTEN, RARELY = KINDS, (WAITRESS,), ()
"""The servers on which an attack is part of the suite; on others it is one of the long runs."""


READS_OFTEN = {"a filter of its own each time": EVERYWHERE, "plain": OFTEN, "pages": OFTEN}


def attacks(names: str, *rows: tuple[Any, ...], on: Sequence[str] = KINDS) -> pytest.MarkDecorator:
    """Run a test with ``http`` and the named values, for each of the rows on each server.

    A row begins with the servers on which it is part of the suite.
    """
    made = [
        pytest.param(
            http,
            *values,
            marks=pytest.mark.alone if http in often else pytest.mark.soak,
            id=" ".join(map(str, (http, *values))),
        )
        for often, *values in rows
        for http in on
    ]
    return pytest.mark.parametrize(("http", *names.split()), made)


@attacks(
    "kind count path source ratio",
    (OFTEN, "slow", 1_000, "/", SOURCE, 3.0),
    (OFTEN, "pipeline", 230, PATH, SOURCE, 3.0),
    (OFTEN, "trickle", 100, STREAM, SOURCE, 3.0),
    (RARELY, "beats", 230, "/", SOURCE, 3.0),
    (RARELY, "slow", 1_300, "/", HERE, 3.0),
    (RARELY, "trickle", 1_300, PATH, SOURCE, 3.0),
    (RARELY, "slow", 5_000, "/", SOURCE, 5.0),
    (RARELY, "slow", 5_000, "/", HERE, 5.0),
)
def test_1_connections(
    tmp_path: Path, http: str, kind: str, count: int, path: str, source: str, ratio: float
) -> None:
    connections(tmp_path, http, kind, count, path, source, ratio)


@attacks(
    "kind count path source ratio",
    (RARELY, "chunks", 20, "/", SOURCE, 3.0),
    (RARELY, "headers", 20, "/", SOURCE, 3.0),
    (RARELY, "churn", 20, "/", SOURCE, 3.0),
    on=[WAITRESS, GRANIAN],
)
def test_1_connections_that_are_work_for_a_parser(
    tmp_path: Path, http: str, kind: str, count: int, path: str, source: str, ratio: float
) -> None:
    """Leave uvicorn out: it parses in Python, in the one thread that serves all connections, so
    other clients wait for seconds. For that case docs/limits.md recommends nginx."""
    connections(tmp_path, http, kind, count, path, source, ratio)


@attacks(
    "kind count path source ratio",
    (RARELY, "pipeline", 230, PATH, HERE, 3.0),
    (RARELY, "slow", 9_500, "/", SOURCE, 10.0),
    on=[WAITRESS],
)
def test_1_connections_that_only_waitress_distinguishes(
    tmp_path: Path, http: str, kind: str, count: int, path: str, source: str, ratio: float
) -> None:
    """Run on waitress only: ASGI servers neither show applications which requests are pipelined,
    nor close connections of one client to serve another. For both, docs/limits.md recommends nginx.
    """
    connections(tmp_path, http, kind, count, path, source, ratio)


def connections(
    tmp_path: Path, http: str, kind: str, count: int, path: str, source: str, ratio: float
) -> None:
    with stand(tmp_path, server_http=http) as made:
        token = made.tokens.secrets["two"]
        crowd = partial(attack, "crowd", kind, made.port, count, path, source, token=token)
        made.withstand(f"{count:,} {kind} from {source}", crowd, ratio=ratio)


@attacks(
    "kind",
    *(
        ((WAITRESS, GRANIAN) if each is greedy.wide else RARELY, each.__name__)
        for each in greedy.BODIES
    ),
)
def test_2_bodies(tmp_path: Path, http: str, kind: str) -> None:
    with stand(tmp_path, server_http=http) as made:
        token = made.tokens.secrets["two"]
        bodies = partial(attack, "greedy", made.address, 20, kind, token=token)
        made.withstand(f"20 with bodies of 8 MiB, {kind}", bodies)


@attacks(
    "nodes kind",
    (OFTEN, 1, "rejected"),
    (OFTEN, 4, "changing"),
    (RARELY, 4, "rejected"),
    (RARELY, 40, "changing"),
)
def test_3_intake(tmp_path: Path, http: str, nodes: int, kind: str) -> None:
    with stand(tmp_path, server_http=http) as made:
        made.path = ONE
        token = made.tokens.secrets["one"]  # the token of the honest agents
        reports = partial(attack, "greedy", made.address, nodes, kind, token=token)
        made.withstand(f"{nodes} nodes with 4,096 instances, {kind}", reports, seconds=6.0)


@attacks("kind", (EVERYWHERE, "watchers"), (RARELY, "park"))
def test_4_parked_queries(tmp_path: Path, http: str, kind: str) -> None:
    with stand(tmp_path, server_http=http) as made:
        token, index = made.tokens.secrets["two"], made.client.plugins("csi").index

        def wakes() -> None:
            """Make a change wake a parked query of an honest client."""
            with ThreadPoolExecutor(1) as pool, made.client.copy() as client, promised(2.0):
                index = client.plugins("csi").index
                query = pool.submit(client.plugins, "csi", index=index, wait=30)
                made.measure(0.1, news=False)
                assert query.result(20).index > index

        if kind == "watchers":
            crowd = partial(attack, "readers", made.port, kind, 95, token=token)
        else:
            path = f"{PATH}&wait=10m&index={index + 10**6}"
            crowd = partial(attack, "crowd", kind, made.port, 400, path, token=token)
        made.withstand(f"queries that wait, {kind}", crowd, proof=wakes)


@attacks("kind", (OFTEN, "values"))
def test_5_storage(tmp_path: Path, http: str, kind: str) -> None:
    """Use all the storage that a token may have, and read the lists without pause."""
    limit = 16 * 2**20
    with stand(tmp_path, server_http=http, server_max_storage_per_token=str(limit)) as made:
        fills(made, kind)


@attacks("kind", *((RARELY, kind) for kind in filler.KINDS))
def test_5_storage_as_large_as_it_may_be(tmp_path: Path, http: str, kind: str) -> None:
    with stand(tmp_path, server_http=http) as made:
        fills(made, kind)


def fills(made: Stand, kind: str) -> None:
    made.path = ONE
    token = made.tokens.secrets["two"]
    made.withstand(
        f"a token's storage is full, {kind}",
        partial(attack, "filler", made.address, kind, token=token),
    )
    limit = "max_instances_per_token" if kind == "small" else "max_storage_per_token"
    assert f"limit={limit}" in made.server.logged


@attacks(
    "kind",
    *(
        (READS_OFTEN.get(kind, RARELY), kind)
        for kind in sorted(readers.KINDS.keys() - {"watchers"})
    ),
)
def test_6_costly_reads(tmp_path: Path, http: str, kind: str) -> None:
    with stand(tmp_path, server_http=http) as made:
        token = made.tokens.secrets["two"]
        reads = partial(attack, "readers", made.port, kind, 20, token=token)
        made.withstand(f"20 clients that read without pause, {kind}", reads)


@attacks("nodes", (OFTEN, 4), (RARELY, 40))
def test_7_liars_and_wrong_clocks(tmp_path: Path, http: str, nodes: int) -> None:
    with stand(tmp_path, server_http=http) as made:
        liars = partial(attack, "liars", made.address, nodes, token=made.tokens.secrets["two"])
        made.withstand(f"{nodes} liars, from 2262 and under others' IDs", liars)
        names = [row["Name"] for row in made.client.nodes().value]
        assert (names.count(NAME), "usurped" in names) == (nodes, False)
        shown = made.client.plugin("csi", "p0").value["Nodes"].values()
        assert max(parse_time(one["UpdateTime"]) for one in shown) <= time.time_ns()


@attacks("seconds", (OFTEN, 3.0), (RARELY, 60.0))
def test_8_processes(tmp_path: Path, http: str, seconds: float) -> None:
    folder = tmp_path / "rogue"
    folder.mkdir()
    with stand(tmp_path, server_http=http) as made:
        rogue = partial(attack, "processes", made.server.pid, folder)
        made.withstand("a prober that hangs, and SIGHUP", rogue, seconds=seconds)
        eventually(lambda: not any(map(alive, processes.pids(folder))), within=20)
        with promised(5.0):
            assert made.server.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@attacks("seconds", (OFTEN, 3.0), (RARELY, 60.0), on=[WAITRESS])
def test_9_the_agent_as_root(tmp_path: Path, http: str, seconds: float) -> None:
    """Run the attack on the agent behind one kind of server only, since the agent is the target."""
    folder = tmp_path / "sockets/neighbour"
    folder.mkdir(parents=True)
    os.chown(folder, neighbour.OTHER, neighbour.OTHER)
    with stand(tmp_path, "../neighbour/*.sock", server_http=http) as made:
        check = f'check "theirs" {{\n  command = ["{folder}/{neighbour.CHECK}"]\n}}'
        file = tmp_path / "agent.token"
        file.write_text(made.tokens.secrets["boss"])
        file.chmod(0o600)
        block, token = f'probe_interval = "50ms"\n{check}', {"client_token_file": str(file)}
        made.here.agent_with("victim", made.client.address, "exec", block, **token)
        target = tmp_path / "sockets" / "honest/ebs0.sock"
        swaps = partial(attack, "neighbour", folder, target)
        made.withstand("executables and sockets of another user", swaps, seconds=seconds)
        client = Client(made.client.address, token=made.tokens.secrets["boss"])
        (one,) = client.plugin("exec", "theirs").value["Checks"].values()
        assert not one["Healthy"]
        assert not (folder / "ran").exists()


@attacks("count", (OFTEN, 20), (RARELY, 200))
def test_10_small_ones(tmp_path: Path, http: str, count: int) -> None:
    with stand(tmp_path, server_http=http) as made:
        heads = partial(attack, "crowd", "heads", made.port, count)
        made.withstand(f"{count} that send heads no server should take", heads)
