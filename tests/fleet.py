"""A small fleet of real processes with random faults and repairs, and checks of the server's
answers."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from plugind.client import Answer, Client
from plugind.errors import Refused, Unreachable
from tests.events.following import Follower
from tests.processes import Machine, Process
from tests.promises import PATIENCE

NODES = ("one", "two")
PLUGINS = ("ebs0", "nfs")
ROLES = {"controller": "Controllers", "node": "Nodes"}
BOTH = frozenset(ROLES)
TTL = "3s"


@dataclass
class Driver:
    """A driver's process and its state: well, slow (still healthy), failing, hung (stopped), dead,
    or gone together with its socket."""

    process: Process
    roles: frozenset[str]
    version: str
    state: str = "well"

    @property
    def has_socket(self) -> bool:
        return self.state != "gone"

    @property
    def lives(self) -> bool:
        return self.speaks or self.state == "hung"

    @property
    def speaks(self) -> bool:
        return self.is_well or self.state == "failing"

    @property
    def is_well(self) -> bool:
        return self.state in ("well", "slow")


@dataclass
class Agent:
    """An agent's process: running, stopped (with its prober) or dead; and the halves of each driver
    that the agent has seen during its life."""

    process: Process
    state: str = "running"
    seen: dict[str, frozenset[str]] = field(default_factory=dict)


@dataclass
class Fleet:
    """A server, an agent on each of NODES, and at most one driver per node for each of PLUGINS.

    For each node and plugin, ``known`` has the halves that the server must have, and ``forgotten``
    the halves that stay away while they are not healthy.
    """

    machine: Machine
    random: Random
    agents: dict[str, Agent] = field(default_factory=dict)
    drivers: dict[tuple[str, str], Driver] = field(default_factory=dict)
    known: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    forgotten: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    created: dict[str, int] = field(default_factory=dict)
    story: list[str] = field(default_factory=list)
    versions: int = 0

    def __post_init__(self) -> None:
        self.port = self.machine.port()
        self.server, self.client = self._serve()
        self.index = self.client.plugins("csi").index
        self.follower = self.machine.places.enter_context(closing(Follower(self.client.address)))
        for node in NODES:
            self.agents[node] = Agent(self.machine.agent(node, self.client.address))
        for node in NODES:
            self.start_driver(node, PLUGINS[0])
        self.settle()

    # The events.

    def round(self) -> None:
        """Make something happen on each node, and perhaps on the server, in random order."""
        happenings = [partial(self._something_on, node) for node in NODES]
        if self.random.random() < 0.3:
            happenings.append(self.restart_server)
        self.random.shuffle(happenings)
        for happen in happenings:
            happen()
        # A stopped agent first reports its old state when it resumes, forgotten or not.
        is_stopped = any(agent.state == "stopped" for agent in self.agents.values())
        if self.random.random() < 0.2 and not is_stopped:
            self.settle()
            self.forget(self.random.choice(PLUGINS))
        self.settle()

    def _something_on(self, node: str) -> None:
        id_ = self.random.choice(PLUGINS)
        driver, agent = self.drivers.get((node, id_)), self.agents[node]
        if self.random.random() < 0.3:
            if agent.state == "running":
                self.end_agent(node, self.random.choice(("stopped", "dead")))
            else:
                self.revive_agent(node)
        elif driver is None or not driver.lives:
            self.start_driver(node, id_)
        elif driver.state != "well":
            self.restore_driver(node, id_)
        else:
            self._harm(node, id_)

    def _harm(self, node: str, id_: str) -> None:
        match self.random.choice(("slow", "failing", "hung", "dead", "gone", "upgraded", "moved")):
            case "upgraded":
                self.upgrade_driver(node, id_)
            case "moved":
                self.move_driver(node, id_)
            case state:
                self.break_driver(node, id_, state)

    def start_driver(self, node: str, id_: str, roles: frozenset[str] = BOTH) -> None:
        self._note("start", node, id_, *sorted(roles))
        self.versions += 1
        version = str(self.versions)
        lacks = [f"--no-{role}" for role in sorted(BOTH - roles)]
        process = self.machine.driver(f"{node}/{id_}.sock", "--version", version, *lacks)
        self.drivers[node, id_] = Driver(process, roles, version)

    def break_driver(self, node: str, id_: str, state: str) -> None:
        self._note(state, node, id_)
        driver = self.drivers[node, id_]
        match state:
            case "slow":
                self.machine.send(f"{node}/{id_}.sock", "slow", "200ms")
            case "failing":
                self.machine.send(f"{node}/{id_}.sock", "fail", "the disk is on fire")
            case "hung":
                driver.process.send(signal.SIGSTOP)
            case "dead":
                driver.process.kill()
            case "gone":
                assert driver.process.stop() == 0
        driver.state = state

    def restore_driver(self, node: str, id_: str) -> None:
        self._note("restore", node, id_)
        driver = self.drivers[node, id_]
        if driver.state == "hung":
            driver.process.send(signal.SIGCONT)
        else:
            self.machine.send(f"{node}/{id_}.sock", "ok")
        driver.state = "well"

    def upgrade_driver(self, node: str, id_: str) -> None:
        """Replace a driver by another version, sometimes by one that lacks a half."""
        self.break_driver(node, id_, "gone")
        self.start_driver(node, id_, self.random.choice((BOTH, frozenset({"node"}))))

    def move_driver(self, node: str, id_: str) -> None:
        """Move a driver to the other node, unless it is there already."""
        self.break_driver(node, id_, "gone")
        (other,) = set(NODES) - {node}
        there = self.drivers.get((other, id_))
        if there is None or not there.lives:
            self.start_driver(other, id_)

    def end_agent(self, node: str, state: str) -> None:
        self._note("agent", state, node)
        agent = self.agents[node]
        if state == "stopped":
            agent.process.send_all(signal.SIGSTOP)
        else:
            agent.process.kill()
        agent.state = state

    def revive_agent(self, node: str) -> None:
        self._note("agent back", node)
        agent = self.agents[node]
        if agent.state == "stopped":
            agent.process.send_all(signal.SIGCONT)
            agent.state = "running"
        else:
            self.agents[node] = Agent(self.machine.agent(node, self.client.address))

    def restart_server(self) -> None:
        """Kill the server at an arbitrary moment, and start it again on the same port."""
        self._note("server killed")
        time.sleep(self.random.uniform(0, 0.3))
        self.server.kill()
        self.server, self.client = self._serve()

    def forget(self, id_: str) -> None:
        """Forget a plugin; its healthy instances remain."""
        self._note("forget", id_)
        with suppress(Refused):
            self.client.forget_plugin("csi", id_)
        for node in NODES:
            healthy = frozenset(
                role for role in self.known.get((node, id_), ()) if self._is_well(node, id_, role)
            )
            gone = self.known.get((node, id_), frozenset()) - healthy
            self.forgotten[node, id_] = self.forgotten.get((node, id_), frozenset()) | gone
            self.known[node, id_] = healthy
        if not any(self.known[node, id_] for node in NODES):
            self.created.pop(id_, None)  # what comes back is a new plugin

    # What readers must see.

    def settle(self) -> None:
        """Wait for the list to become correct, as a watcher does; then check everything else.

        The list is read without an index only once, so if a change fails to wake the watcher, that
        change is never seen.
        """
        for node, agent in self.agents.items():
            if agent.state == "running":
                self._look_round(node, agent)
        want = self._rows()
        deadline = time.monotonic() + PATIENCE
        for answer in self._answers(deadline):
            assert answer.index >= self.index, self._with_story("the list's index went back")
            self.index = answer.index
            if _counts(answer.value) == want:
                break
        else:
            raise AssertionError(self._with_story(f"the list never came to {want}: {answer.value}"))
        self._check_creation(answer.value)
        for id_ in PLUGINS:
            self._settle_body(id_)
        self._check_history()

    def _check_history(self) -> None:
        """Check that the history ends in the state that is shown, and that the stream has the same
        rows."""
        rows = [row for id_ in PLUGINS for row in self._history(id_)]
        health: dict[str, dict[tuple[str, str], bool]] = {id_: {} for id_ in PLUGINS}
        for row in sorted(rows, key=lambda row: int(row["Seq"])):
            key = row["NodeName"], row["Role"]
            if row["After"] == "" and row["Event"] in ("left", "flapping"):
                del health[row["ID"]][key]
            else:
                is_new = key not in health[row["ID"]]
                assert is_new or row["Event"] != "appeared", self._with_story(f"twice: {row}")
                health[row["ID"]][key] = row["Healthy"]
        for id_ in PLUGINS:
            body = self._true_body(id_)
            shown = {
                (node, role): bool(version)
                for role, nodes in body.items()
                for node, version in nodes.items()
            }
            assert health[id_] == shown, self._with_story(f"the history of {id_} is not that")
        steady = [row for row in rows if row["Event"] != "flapping"]  # its row changes in place
        wanted = sorted(row["Seq"] for row in steady)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = [row for row in list(self.follower.rows) if row["Event"] != "flapping"]
            if [row["Seq"] for row in found] == wanted:
                assert sorted(steady, key=lambda row: int(row["Seq"])) == found
                return
            time.sleep(0.05)
        raise AssertionError(self._with_story("the stream does not have the history's rows"))

    def _history(self, id_: str) -> list[dict[str, Any]]:
        try:
            rows: list[dict[str, Any]] = self.client.plugin_history("csi", id_).value
        except Refused:  # it never was there
            return []
        return rows

    def _settle_body(self, id_: str) -> None:
        want, deadline = self._true_body(id_), time.monotonic() + PATIENCE
        while (shown := self._body(id_)) != want:
            assert time.monotonic() < deadline, self._with_story(
                f"{id_} is {want}, and {shown} is shown"
            )
            time.sleep(0.05)

    def _answers(self, deadline: float) -> Iterator[Answer]:
        index = 0
        while (left := deadline - time.monotonic()) > 0:
            try:
                answer = self.client.plugins("csi", index=index, wait=left)
            except Unreachable:
                time.sleep(0.05)
                continue
            index = answer.index
            yield answer

    def _look_round(self, node: str, agent: Agent) -> None:
        """Update the record of what a running agent has reported, once the fleet has settled."""
        for id_ in PLUGINS:
            driver = self.drivers.get((node, id_))
            if driver is None or not driver.has_socket:
                continue
            known, seen = self.known.get((node, id_), frozenset()), agent.seen.get(id_, frozenset())
            away = self.forgotten.get((node, id_), frozenset())
            if driver.is_well:
                away = self.forgotten[node, id_] = away - driver.roles
            if driver.speaks:
                left = seen - driver.roles
                self.known[node, id_] = (known - left) | (driver.roles - away)
                agent.seen[id_] = driver.roles
            else:
                reported = known | seen or away or frozenset({"node"})
                self.known[node, id_] = reported - away

    def _is_well(self, node: str, id_: str, role: str) -> bool:
        driver = self.drivers.get((node, id_))
        return (
            driver is not None
            and driver.is_well
            and role in driver.roles
            and self.agents[node].state == "running"
        )

    def _true_body(self, id_: str) -> dict[str, dict[str, str]]:
        """Return the version of each instance by role and node name, "" where it is not healthy."""
        return {
            role: {
                node: self.drivers[node, id_].version if self._is_well(node, id_, role) else ""
                for node in NODES
                if role in self.known.get((node, id_), ())
            }
            for role in ROLES
        }

    def _rows(self) -> dict[str, tuple[int, ...]]:
        bodies = {id_: self._true_body(id_) for id_ in PLUGINS}
        return {
            id_: tuple(
                n for role in ROLES for n in (sum(map(bool, body[role].values())), len(body[role]))
            )
            for id_, body in bodies.items()
            if any(body.values())
        }

    def _body(self, id_: str) -> dict[str, dict[str, str]]:
        names = {node["ID"]: node["Name"] for node in self.client.nodes().value}
        try:
            body = self.client.plugin("csi", id_).value
        except Refused:
            return {role: {} for role in ROLES}
        for plural in ROLES.values():
            for node_id, one in body[plural].items():
                problem = f"{names[node_id]} gives no reason"
                assert one["Healthy"] or one["HealthDescription"], self._with_story(problem)
        return {
            role: {
                names[node_id]: one["ProviderVersion"] if one["Healthy"] else ""
                for node_id, one in body[plural].items()
            }
            for role, plural in ROLES.items()
        }

    def _check_creation(self, rows: list[dict[str, Any]]) -> None:
        created = {row["ID"]: row["CreateIndex"] for row in rows}
        for id_, index in created.items():
            before = self.created.get(id_, index)
            assert index == before, self._with_story(
                f"{id_} was created at {before}, and now at {index}"
            )
        self.created = created

    def _serve(self) -> tuple[Process, Client]:
        return self.machine.server(port=self.port, server_heartbeat_ttl=TTL)

    def _note(self, *words: str) -> None:
        self.story.append(" ".join(words))

    def _with_story(self, what: str) -> str:
        return f"{what}\nafter: {'; '.join(self.story)}"


def _counts(rows: list[dict[str, Any]]) -> dict[str, tuple[int, ...]]:
    kinds = [f"{plural}{kind}" for plural in ROLES.values() for kind in ("Healthy", "Expected")]
    return {row["ID"]: tuple(row[kind] for kind in kinds) for row in rows}
