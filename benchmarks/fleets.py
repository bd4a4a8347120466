"""Fleets of made-up machines, written directly into a store without a server or HTTP.

All instances are the same CSI driver in the role of a node, validated once as a report would be.
So a fleet of 100,000 instances is written in seconds. The store has the contents that it would
have if each node had reported once, two hours ago.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plugind.intake.digests import of_node, of_secret
from plugind.intake.plan import Planner
from plugind.model import Beat, Change, Instance, InstanceKey, Node, Step
from plugind.model.times import SECOND
from plugind.schemas.nodes import Report
from plugind.schemas.plugins import PluginSchemas
from plugind.serve.parts import store_of
from plugind.state import State
from plugind.types.configured import load_settings

SECRET = "a secret of every agent"
DIGESTS = "digests.json"
AGO = 2 * 3600 * SECOND
"""Nanoseconds since the nodes reported: more than an hour, so that a server that starts finds no
transitions in the last hour to count."""

_AT_ONCE = 64
FINGERPRINT: dict[str, Any] = {
    "Healthy": True,
    "HealthDescription": "healthy",
    "Provider": "ebs.csi.example.com",
    "ProviderVersion": "v1.7.3",
    "RequiresControllerPlugin": False,
    "RequiresTopologies": False,
    "NodeInfo": {
        "ID": "i-0123456789abcdef0",
        "MaxVolumes": 25,
        "AccessibleTopology": {"Segments": {"zone": "eu-west-1a"}},
        "RequiresNodeStageVolume": True,
        "SupportsStats": True,
        "SupportsExpand": True,
    },
}


@dataclass(frozen=True)
class Fleet:
    """A number of nodes; ``plugins_on`` returns the IDs of the plugins on a node, by its number."""

    name: str
    nodes: int
    plugins_on: Callable[[int], Sequence[str]]


def listed(plugins: int, spread: int = 16, group: int = 1_000) -> Fleet:
    """Return a fleet of that many plugins, each on ``spread`` nodes. A node has at most ``group``
    plugins."""

    def plugins_on(node: int) -> Sequence[str]:
        first = node // spread * group
        return [plugin(number) for number in range(first, min(first + group, plugins))]

    return Fleet(f"{plugins} plugins", -(-plugins // group) * spread, plugins_on)


def with_single(fleet: Fleet) -> Fleet:
    """Return a fleet with an additional node that has only the first plugin, for small reports."""

    def plugins_on(node: int) -> Sequence[str]:
        return fleet.plugins_on(node) if node < fleet.nodes else [plugin(0)]

    return Fleet(f"{fleet.name}, and a small node", fleet.nodes + 1, plugins_on)


def wide(nodes: int, plugins: int = 1) -> Fleet:
    """Return a fleet of that many nodes, each with the same plugins."""
    all_ = [plugin(number) for number in range(plugins)]
    return Fleet(f"{plugins} plugins on {nodes} nodes", nodes, lambda node: all_)


def large(nodes: int = 2_000, plugins: int = 1_000, each: int = 50) -> Fleet:
    """Return a fleet with one plugin on all nodes, and the others spread evenly. Each node has
    ``each`` plugins."""

    def plugins_on(node: int) -> Sequence[str]:
        rest = plugins - 1
        others = sorted((node * (each - 1) + number) % rest + 1 for number in range(each - 1))
        return [plugin(0), *map(plugin, others)]

    return Fleet(f"{nodes * each} instances", nodes, plugins_on)


def plugin(number: int) -> str:
    return f"plugin-{number:05d}"


def node_id(number: int) -> str:
    return str(uuid.UUID(int=0x4000_8000_0000_0000_0000 + number))


def node_name(number: int) -> str:
    return f"node-{number:05d}"


def report(number: int, fingerprints: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a node's report; ``fingerprints`` are by the plugin's ID."""
    plugins = {id_: {"node": fingerprint} for id_, fingerprint in fingerprints.items()}
    return {
        "Name": node_name(number),
        "Version": "0.1.0",
        "Address": "10.0.0.1",
        "Attributes": {"kernel.name": "linux", "cpu.arch": "amd64", "os.name": "debian"},
        "Plugins": {"csi": plugins},
    }


def toggled(number: int, *, healthy: bool) -> bytes:
    """Return the body of the report of a node that has only the first plugin, healthy or not."""
    text = "healthy" if healthy else "connection refused"
    fingerprint = {**FINGERPRINT, "Healthy": healthy, "HealthDescription": text}
    return json.dumps(report(number, {plugin(0): fingerprint})).encode()


def fill(folder: Path, fleet: Fleet, config: str) -> None:
    """Write a fleet into the store that a configuration names, in ``folder``.

    Raise RuntimeError when the store refuses it.
    """
    file = folder / "fill.hcl"
    file.write_text(config)
    flags = {"data_dir": str(folder), "server_enabled": "true"}
    settings, registry = load_settings([file], flags, None)
    schemas = {name: PluginSchemas.of(type_) for name, type_ in registry.types.items()}
    generations = {name: str(registry.origins[name]) for name in registry.types}
    store = store_of(settings, registry, folder, shared=False)
    try:
        state = State.of(store.load())
        now = time.time_ns() - AGO
        pattern = _pattern(Planner(state, schemas, generations), now)
        digests = []
        # New nodes do not depend on each other, so each change is planned on the empty state.
        for first in range(0, fleet.nodes, _AT_ONCE):
            planner = Planner(state, schemas, generations, base=store.newest())
            changes = []
            for number in range(first, min(first + _AT_ONCE, fleet.nodes)):
                node, instances = _node(pattern, fleet, number)
                steps = [Step(None, instance) for instance in instances]
                changes.append(planner.change(now, [Step(None, node)], steps))
                digests.append(of_node(node, instances, generations))
            if not all(isinstance(outcome, int) for outcome in store.commit(changes)):
                raise RuntimeError("the store did not take the fleet")
        heard = Beat(time.time_ns(), 3600 * SECOND)
        store.beat({node_id(number): heard for number in range(fleet.nodes)})
        (folder / DIGESTS).write_text(json.dumps(digests))
    finally:
        store.close()


def _pattern(planner: Planner, now: int) -> Change:
    """Return the change that results from the report of one node with one instance."""
    sent = report(0, {plugin(0): FINGERPRINT})
    named = Report(
        sent["Name"],
        version=sent["Version"],
        address=sent["Address"],
        attributes=sent["Attributes"],
        plugins=sent["Plugins"],
    )
    change, rejected = planner.report(node_id(0), of_secret(SECRET), named, now)
    if rejected:
        raise RuntimeError(f"the fleet's fingerprint is not valid: {rejected}")
    return change


def _node(pattern: Change, fleet: Fleet, number: int) -> tuple[Node, list[Instance]]:
    id_ = node_id(number)
    node = pattern.nodes[0].some.changed(id=id_, name=node_name(number))
    instance = pattern.instances[0].some
    return node, [
        instance.changed(key=InstanceKey(id_, "csi", each, "node"))
        for each in fleet.plugins_on(number)
    ]
