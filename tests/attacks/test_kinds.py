"""One attack of each kind, and more of them in the long runs: other clients notice little of it.

The kinds are those of docs/limits.md. Each attack comes from a process of its own, and prints the
row of the table there (``pytest -s``).
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from plugind.client import Client
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
"""The address that the honest clients have."""

ONE = "/v1/plugin/csi/p100"
"""The path to read where an attack makes the list longer."""

STREAM = "/v1/event/stream?index=1&topic=CSIPlugin"

pytestmark = pytest.mark.timeout(600)


def case(short: bool, *values: object) -> object:
    """Return an attack that is part of the suite, or else of the long runs only."""
    mark = pytest.mark.alone if short else pytest.mark.soak
    return pytest.param(*values, marks=mark, id=" ".join(map(str, values)))


@pytest.mark.parametrize(
    ("kind", "count", "path", "source", "ratio"),
    [
        case(True, "slow", 1_000, "/", SOURCE, 3.0),
        case(True, "pipeline", 230, PATH, SOURCE, 3.0),
        case(True, "trickle", 100, STREAM, SOURCE, 3.0),
        case(False, "slow", 1_300, "/", HERE, 3.0),
        case(False, "pipeline", 230, PATH, HERE, 3.0),
        case(False, "trickle", 1_300, PATH, SOURCE, 3.0),
        case(False, "chunks", 20, "/", SOURCE, 3.0),
        case(False, "headers", 20, "/", SOURCE, 3.0),
        case(False, "churn", 20, "/", SOURCE, 3.0),
        case(False, "slow", 5_000, "/", SOURCE, 5.0),
        case(False, "slow", 5_000, "/", HERE, 5.0),
        case(False, "slow", 9_500, "/", SOURCE, 10.0),
    ],
)
def test_1_connections(
    tmp_path: Path, kind: str, count: int, path: str, source: str, ratio: float
) -> None:
    with stand(tmp_path) as made:
        token = made.tokens.secrets["two"]
        crowd = partial(attack, "crowd", kind, made.port, count, path, source, token=token)
        made.withstand(f"{count:,} {kind} from {source}", crowd, ratio=ratio)


@pytest.mark.parametrize(
    "kind", [case(each is greedy.wide, each.__name__) for each in greedy.BODIES]
)
def test_2_bodies(tmp_path: Path, kind: str) -> None:
    with stand(tmp_path) as made:
        token = made.tokens.secrets["two"]
        bodies = partial(attack, "greedy", made.address, 20, kind, token=token)
        made.withstand(f"20 with bodies of 8 MiB, {kind}", bodies)


@pytest.mark.parametrize(
    ("nodes", "kind"),
    [
        case(True, 1, "rejected"),
        case(True, 4, "changing"),
        case(False, 4, "rejected"),
        case(False, 40, "changing"),
    ],
)
def test_3_intake(tmp_path: Path, nodes: int, kind: str) -> None:
    with stand(tmp_path) as made:
        made.path = ONE
        token = made.tokens.secrets["one"]  # the token of the honest agents
        reports = partial(attack, "greedy", made.address, nodes, kind, token=token)
        made.withstand(f"{nodes} nodes with 4,096 instances, {kind}", reports, seconds=6.0)


@pytest.mark.parametrize("kind", [case(True, "watchers"), case(False, "park")])
def test_4_parked_queries(tmp_path: Path, kind: str) -> None:
    with stand(tmp_path) as made:
        token, index = made.tokens.secrets["two"], made.client.plugins("csi").index

        def wakes() -> None:
            """Park a query of an honest client, and have a change wake it."""
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


@pytest.mark.alone
def test_5_storage(tmp_path: Path) -> None:
    """A token uses all the storage it may have, and reads the lists without pause."""
    limit = 16 * 2**20
    with stand(tmp_path, server_max_storage_per_token=str(limit)) as made:
        fills(made, "values")


@pytest.mark.soak
@pytest.mark.parametrize("kind", filler.KINDS)
def test_5_storage_as_large_as_it_may_be(tmp_path: Path, kind: str) -> None:
    with stand(tmp_path) as made:
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


@pytest.mark.parametrize(
    "kind",
    [
        case(kind in ("a filter of its own each time", "plain", "pages"), kind)
        for kind in sorted(readers.KINDS.keys() - {"watchers"})
    ],
)
def test_6_costly_reads(tmp_path: Path, kind: str) -> None:
    with stand(tmp_path) as made:
        token = made.tokens.secrets["two"]
        reads = partial(attack, "readers", made.port, kind, 20, token=token)
        made.withstand(f"20 clients that read without pause, {kind}", reads)


@pytest.mark.parametrize("nodes", [case(True, 4), case(False, 40)])
def test_7_liars_and_wrong_clocks(tmp_path: Path, nodes: int) -> None:
    with stand(tmp_path) as made:
        liars = partial(attack, "liars", made.address, nodes, token=made.tokens.secrets["two"])
        made.withstand(f"{nodes} liars, from 2262 and under others' IDs", liars)
        names = [row["Name"] for row in made.client.nodes().value]
        assert (names.count(NAME), "usurped" in names) == (nodes, False)
        shown = made.client.plugin("csi", "p0").value["Nodes"].values()
        assert max(parse_time(one["UpdateTime"]) for one in shown) <= time.time_ns()


@pytest.mark.parametrize("seconds", [case(True, 3.0), case(False, 60.0)])
def test_8_processes(tmp_path: Path, seconds: float) -> None:
    folder = tmp_path / "rogue"
    folder.mkdir()
    with stand(tmp_path) as made:
        rogue = partial(attack, "processes", made.server.pid, folder)
        made.withstand("a prober that hangs, and SIGHUP", rogue, seconds=seconds)
        eventually(lambda: not any(map(alive, processes.pids(folder))), within=20)
        with promised(5.0):
            assert made.server.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("seconds", [case(True, 3.0), case(False, 60.0)])
def test_9_the_agent_as_root(tmp_path: Path, seconds: float) -> None:
    folder = tmp_path / "sockets/neighbour"
    folder.mkdir(parents=True)
    os.chown(folder, neighbour.OTHER, neighbour.OTHER)
    with stand(tmp_path, "../neighbour/*.sock") as made:
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


@pytest.mark.parametrize("count", [case(True, 20), case(False, 200)])
def test_10_small_ones(tmp_path: Path, count: int) -> None:
    with stand(tmp_path) as made:
        heads = partial(attack, "crowd", "heads", made.port, count)
        made.withstand(f"{count} that send heads no server should take", heads)
