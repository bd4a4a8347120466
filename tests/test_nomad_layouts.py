"""Nomad's usual deployment: a controller job and a node job of a driver that serves both halves."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugind.client import Client
from tests.nomad_folders import BARE, ENVIRONMENT, LAYOUTS, MOUNTS, OLD, Nomad
from tests.processes import Machine, Process, counts, instance, machine
from tests.support import eventually

ID = "hostpath"
PLURALS = ("Controllers", "Nodes")
BOTH_UP = (1, 1, 1, 1)


@pytest.fixture
def here() -> Iterator[Machine]:
    """Yield a machine whose folder has a short path: socket paths are limited to 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="nomad") as folder, machine(Path(folder)) as made:
        yield made


@pytest.fixture
def nomad(here: Machine) -> Nomad:
    return Nomad(here)


@pytest.fixture
def client(here: Machine) -> Client:
    _, client = here.server()
    return client


def agent(nomad: Nomad, client: Client, more: str = "") -> Process:
    block = f'sockets = ["{nomad.glob}"]\nrefresh_interval = "1s"\n{more}'
    return nomad.machine.agent_with("vm", client.address, "csi", block)


def shows(client: Client, expected: tuple[int, int, int, int]) -> None:
    eventually(lambda: counts(client, ID) == expected)


def version(client: Client, plural: str) -> str:
    return str(instance(client, ID, plural)["ProviderVersion"])


def allocations(client: Client) -> tuple[str, str]:
    """Return the allocations shown for the controller and the node; "" where there is none."""
    if counts(client, ID) is None:
        return "", ""
    body = client.plugin("csi", ID).value
    first, second = ("".join(one["AllocID"] for one in body[name].values()) for name in PLURALS)
    return first, second


def row(client: Client) -> dict[str, Any]:
    (found,) = client.plugins("csi").value
    only: dict[str, Any] = found
    return only


@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_processes_that_serve_both_halves(nomad: Nomad, client: Client, layout: str) -> None:
    watching = agent(nomad, client)
    controller = nomad.allocation(layout, "controller").start("--version", "1")
    node = nomad.allocation(layout, "node").start("--version", "1")
    eventually(lambda: allocations(client) == (controller.alloc_id, node.alloc_id))
    shows(client, BOTH_UP)
    assert row(client)["Provider"] == "sample.csi.plugind"
    assert client.plugin("csi", ID).value["Version"] == "1"

    controller.kill()
    shows(client, (0, 1, 1, 1))
    nomad.machine.send(str(node.socket), "version", "node")
    watching.stop()
    watching = agent(nomad, client)
    eventually(lambda: version(client, "Nodes") == "node")
    assert counts(client, ID) == (0, 1, 1, 1)
    controller.start("--version", "1")
    shows(client, BOTH_UP)

    node.kill()
    shows(client, (1, 1, 0, 1))
    node.start("--version", "node")
    shows(client, BOTH_UP)

    controller.stop()
    shows(client, (0, 1, 1, 1))
    nomad.allocation(layout, "controller").start("--version", "2")
    shows(client, BOTH_UP)
    assert (version(client, "Controllers"), version(client, "Nodes")) == ("2", "node")
    assert [plugin["ID"] for plugin in client.plugins("csi").value] == [ID]


@pytest.mark.parametrize("layout", [MOUNTS, ENVIRONMENT, OLD])
def test_what_nomad_calls_an_allocation_is_shown(nomad: Nomad, client: Client, layout: str) -> None:
    agent(nomad, client)
    node = nomad.allocation(layout, "node", job="storage").start("--no-controller")
    eventually(lambda: counts(client, ID) == (0, 0, 1, 1))
    (stub,) = client.plugin("csi", ID).value["Allocations"]
    if layout == MOUNTS:
        assert stub["ID"] == node.alloc_id
        return
    assert (stub["ID"], stub["Name"]) == (node.alloc_id, "storage.drivers[0]")
    assert (stub["JobID"], stub["TaskGroup"]) == ("storage", "drivers")


@pytest.mark.parametrize("layout", [MOUNTS, ENVIRONMENT])
def test_a_canary_and_a_rolling_update(nomad: Nomad, client: Client, layout: str) -> None:
    """Choose the newest allocation that was ever healthy, and the older one once that is gone."""
    agent(nomad, client)
    nomad.allocation(layout, "controller").start("--version", "1")
    old = nomad.allocation(layout, "node").start("--version", "1")
    eventually(lambda: allocations(client)[1] == old.alloc_id)
    shows(client, BOTH_UP)

    canary = nomad.allocation(layout, "node").start("--version", "2", "--fail", "no disk yet")
    nomad.machine.send(str(old.socket), "version", "1.1")
    eventually(lambda: version(client, "Nodes") == "1.1")
    assert counts(client, ID) == BOTH_UP
    assert instance(client, ID)["HealthDescription"] == "healthy"
    nomad.machine.send(str(canary.socket), "ok")
    eventually(lambda: allocations(client)[1] == canary.alloc_id)
    assert counts(client, ID) == BOTH_UP
    canary.stop()
    eventually(lambda: allocations(client)[1] == old.alloc_id)
    assert counts(client, ID) == BOTH_UP

    new = nomad.allocation(layout, "node").start("--version", "3")
    eventually(lambda: allocations(client)[1] == new.alloc_id)
    old.stop()
    new.kill()
    shows(client, (1, 1, 0, 1))


def test_an_upgrade_across_layouts(nomad: Nomad, client: Client) -> None:
    """Check that leftovers of an old Nomad take nothing from the new allocations."""
    agent(nomad, client)
    before = [nomad.allocation(OLD, kind).start() for kind in ("controller", "node")]
    eventually(lambda: allocations(client) == (before[0].alloc_id, before[1].alloc_id))
    for each in before:
        each.stop()
    shows(client, (0, 1, 0, 1))
    controller = nomad.allocation(MOUNTS, "controller").start()
    node = nomad.allocation(MOUNTS, "node").start()
    eventually(lambda: allocations(client) == (controller.alloc_id, node.alloc_id))
    assert counts(client, ID) == BOTH_UP
    for plural in PLURALS:
        assert instance(client, ID, plural)["HealthDescription"] == "healthy"


def test_a_monolith_is_both_halves_and_so_is_its_successor(nomad: Nomad, client: Client) -> None:
    watching = agent(nomad, client)
    for layout in LAYOUTS:
        only = nomad.allocation(layout, "monolith").start("--version", layout)
        expected = (only.alloc_id, only.alloc_id)
        eventually(lambda expected=expected: allocations(client) == expected)
        shows(client, BOTH_UP)
        only.kill()
        shows(client, (0, 1, 0, 1))
        watching.stop()
        watching = agent(nomad, client)
        only.start("--version", "again")
        shows(client, BOTH_UP)
        only.stop()
        shows(client, (0, 1, 0, 1))


@pytest.mark.parametrize("layout", [MOUNTS, BARE])
def test_an_id_stays_when_another_plugin_comes(nomad: Nomad, client: Client, layout: str) -> None:
    watching = agent(nomad, client)
    node = nomad.allocation(layout, "node").start("--no-controller")
    eventually(lambda: counts(client, ID) == (0, 0, 1, 1))
    nomad.allocation(layout, "node", "nfs").start("--no-controller", "--name", "nfs.example")
    expected = [ID, "nfs" if layout == MOUNTS else "nfs.example"]

    def ids() -> list[str]:
        return [plugin["ID"] for plugin in client.plugins("csi").value]

    eventually(lambda: ids() == expected)
    watching.stop()
    node.kill()
    watching = agent(nomad, client)
    shows(client, (0, 0, 0, 1))
    node.start("--no-controller")
    shows(client, (0, 0, 1, 1))
    node.stop()
    nomad.allocation(layout, "node").start("--no-controller", "--version", "2")
    eventually(lambda: version(client, "Nodes") == "2")
    assert ids() == expected


def test_blocks_by_role(nomad: Nomad, client: Client) -> None:
    """Prefer a block's role to a glob that finds the same socket."""
    first = nomad.allocation(BARE, "node")
    second = nomad.allocation(OLD, "controller")
    more = "".join(
        f'instance "{ID}" {{\n endpoint = "unix://{each.socket}"\n role = "{role}"\n}}\n'
        for each, role in ((first, "controller"), (second, "node"))
    )
    watching = agent(nomad, client, more)
    shows(client, (0, 1, 0, 1))
    first.start("--version", "c")
    second.start("--version", "n")
    shows(client, BOTH_UP)
    assert (version(client, "Controllers"), version(client, "Nodes")) == ("c", "n")
    first.kill()
    shows(client, (0, 1, 1, 1))
    watching.stop()
    agent(nomad, client, more)
    nomad.machine.send(str(second.socket), "version", "m")
    eventually(lambda: version(client, "Nodes") == "m")
    assert counts(client, ID) == (0, 1, 1, 1)
    first.start("--version", "c2")
    shows(client, BOTH_UP)
    second.kill()
    shows(client, (1, 1, 0, 1))


@pytest.mark.parametrize("while_away", [False, True], ids=["while-watched", "while-away"])
def test_a_socket_that_goes_while_its_driver_lives(
    nomad: Nomad, client: Client, while_away: bool
) -> None:
    watching = agent(nomad, client)
    node = nomad.allocation(ENVIRONMENT, "node").start()
    shows(client, BOTH_UP)
    if while_away:
        watching.stop()
    node.socket.unlink()
    node.folder.rename(node.folder.with_name("elsewhere"))
    if while_away:
        watching = agent(nomad, client)
    shows(client, (0, 1, 0, 1))
    assert instance(client, ID)["HealthDescription"] == f"no socket at {node.socket}"
    node.kill()
    eventually(lambda: "not reported by" in instance(client, ID)["HealthDescription"])


def test_a_leftover_is_left_out_after_the_threshold(nomad: Nomad, client: Client) -> None:
    more = 'gc_threshold = "4s"'
    watching = agent(nomad, client, more)
    node = nomad.allocation(OLD, "node").start("--no-controller")
    eventually(lambda: counts(client, ID) == (0, 0, 1, 1))
    node.kill()
    shows(client, (0, 0, 0, 1))
    watching.stop()
    agent(nomad, client, more)
    eventually(lambda: counts(client, ID) is None)
    node.start("--no-controller")
    shows(client, (0, 0, 1, 1))
    node.kill()
    shows(client, (0, 0, 0, 1))
    eventually(lambda: counts(client, ID) is None)


def test_drivers_of_two_makers_dispute_one_id(nomad: Nomad, client: Client) -> None:
    agent(nomad, client)
    first = nomad.allocation(MOUNTS, "node").start("--name", "one.example")
    shows(client, (0, 0, 1, 1))
    second = nomad.allocation(MOUNTS, "node").start("--name", "two.example")
    shows(client, (0, 0, 0, 1))
    reason = instance(client, ID)["HealthDescription"]
    assert reason.startswith("claimed by two targets: ")
    assert str(first.socket) in reason
    second.kill()
    shows(client, (0, 0, 1, 1))
    assert instance(client, ID)["HealthDescription"].startswith("healthy; also claimed by ")
