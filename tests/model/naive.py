"""A second, naive catalogue: plain dictionaries, written from the wire's rules and not from the
code, and everything recounted whenever it is asked for. It knows one plugin type, with two roles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from plugind.errors import Conflict, NotFound
from plugind.fields import format_time, parse_time

TYPE = "csi"
ROLES = {"controller": "Controllers", "node": "Nodes"}
DEFAULT_ROLE = "node"
REJECTED = "the agent's report of it was rejected: "

Wrong = tuple[str, str, str, str]
"""Type, ID, role and field of a rejected item."""


class Key(NamedTuple):
    node: str
    plugin: str
    role: str


class Shown(NamedTuple):
    """What a reader sees of one instance; ``text`` is how its description starts."""

    healthy: bool
    text: str
    since: int
    provider: str


class Stub(NamedTuple):
    """What a reader sees of the process behind instances."""

    id: str
    node: str
    name: str
    job: str
    status: str


@dataclass
class Told:
    """What was last heard of an instance, and since when it says so."""

    healthy: bool
    text: str
    since: int
    provider: str
    missing_since: int | None = None
    alloc: str = ""
    job: str = ""
    runs: bool = True


@dataclass
class Machine:
    name: str
    down_since: int | None = None


@dataclass
class Naive:
    """Times are nanoseconds since the epoch. What cannot be done raises what the wire says."""

    nodes: dict[str, Machine] = field(default_factory=dict)
    held: dict[Key, Told] = field(default_factory=dict)
    declared: dict[str, dict[str, int]] = field(default_factory=dict)

    def report(
        self, node: str, name: str, plugins: Mapping[str, Any], job: str, now: int
    ) -> list[Wrong]:
        """All processes that fingerprints name are said to be of one job."""
        wrong: list[Wrong] = []
        reported = set()
        for key, raw in list(self._items(node, plugins, wrong)):
            reported.add(key)
            if raw is None:
                self.held.pop(key, None)
            else:
                self._tell(key, raw, job, now, wrong)
        for key, told in self.held.items():
            if key.node == node and key not in reported and told.missing_since is None:
                told.missing_since = now
        self._hear(node, now)
        self.nodes[node] = Machine(name)
        return sorted(wrong)

    def heartbeat(self, node: str, is_known_digest: bool, reported: set[Key], now: int) -> None:
        """``reported`` are the instances that stood after the node's last report: when something
        of them was forgotten since, the digest is void."""
        if not is_known_digest or node not in self.nodes or reported != self.standing(node):
            raise Conflict
        self._hear(node, now)

    def silence(self, node: str, now: int) -> None:
        machine = self.nodes.get(node)
        if machine and machine.down_since is None:
            machine.down_since = now

    def forget_node(self, node: str) -> None:
        if node not in self.nodes:
            raise NotFound
        del self.nodes[node]
        for key in [key for key in self.held if key.node == node]:
            del self.held[key]

    def forget_plugin(self, plugin: str) -> None:
        if not self.exists(plugin):
            raise NotFound
        sick = [key for key in self.held if key.plugin == plugin and not self.shown(key).healthy]
        for key in sick:
            del self.held[key]

    def collect(self, cutoff: int) -> None:
        """Forgets what has been lost since ``cutoff`` or longer."""
        for key, told in list(self.held.items()):
            if told.missing_since is not None and told.missing_since <= cutoff:
                del self.held[key]
        for node, machine in list(self.nodes.items()):
            if machine.down_since is not None and machine.down_since <= cutoff:
                self.forget_node(node)

    def declare(self, declared: Mapping[str, Mapping[str, int]]) -> None:
        self.declared = {plugin: dict(expected) for plugin, expected in declared.items()}

    def standing(self, node: str) -> set[Key]:
        """The instances of a node that its last report had."""
        return {k for k, told in self.held.items() if k.node == node and told.missing_since is None}

    def exists(self, plugin: str) -> bool:
        return plugin in self.declared or any(key.plugin == plugin for key in self.held)

    def counts(self, plugin: str) -> dict[str, int]:
        """Healthy and Expected by role, under their names on the wire."""
        counts = {}
        for role, plural in ROLES.items():
            shown = list(self.instances(plugin, role).values())
            counts[f"{plural}Healthy"] = len([one for one in shown if one.healthy])
            expected = self.declared.get(plugin, {}).get(role)
            counts[f"{plural}Expected"] = len(shown) if expected is None else expected
        return counts

    def instances(self, plugin: str, role: str) -> dict[str, Shown]:
        """By node: what is shown of a plugin in a role."""
        keys = [key for key in self.held if (key.plugin, key.role) == (plugin, role)]
        return {key.node: self.shown(key) for key in keys}

    def stubs(self, node: str = "", plugin: str = "") -> list[Stub]:
        """The processes of a node or a plugin, each once: as the instance has it that says that it
        runs, else the one that changed last."""
        found: dict[tuple[str, str], tuple[tuple[Any, ...], Stub]] = {}
        for key, told in self.held.items():
            if told.alloc and node in ("", key.node) and plugin in ("", key.plugin):
                machine = self.nodes[key.node]
                is_lost = machine.down_since is not None
                runs = told.runs and told.missing_since is None and not is_lost
                status = "lost" if is_lost else "running" if runs else "failed"
                stub = Stub(told.alloc, key.node, machine.name, told.job, status)
                one = ((runs, self.shown(key).since, key), stub)
                found[told.alloc, key.node] = max(found.get((told.alloc, key.node), one), one)
        return sorted(stub for _, stub in found.values())

    def shown(self, key: Key) -> Shown:
        told, machine = self.held[key], self.nodes[key.node]
        if machine.down_since is not None:
            reason, since = "nothing heard of node {} since {}", machine.down_since
        elif told.missing_since is not None:
            reason, since = "not reported by {} since {}", told.missing_since
        else:
            return Shown(told.healthy, told.text, told.since, told.provider)
        text = reason.format(machine.name, format_time(since))
        before = "" if told.healthy else f"; before that: {told.text}"
        return Shown(False, text + before, since, told.provider)

    def _hear(self, node: str, now: int) -> None:
        """A node that was silent is back: what stands of it is so from now on."""
        machine = self.nodes.get(node)
        if machine and machine.down_since is not None:
            machine.down_since = None
            for key in self.standing(node):
                self.held[key].since = now

    def _tell(self, key: Key, raw: Any, job: str, now: int, wrong: list[Wrong]) -> None:
        old = self.held.get(key)
        if (bad := wrong_field(raw)) is not None:
            wrong.append((TYPE, key.plugin, key.role, bad))
            untimed = {**raw, "UpdateTime": ""} if isinstance(raw, dict) else raw
            new = Told(False, REJECTED + json.dumps(untimed), now, old.provider if old else "")
            if old:
                new.alloc, new.job, new.runs = old.alloc, old.job, old.runs
        else:
            kept = "" if raw["Healthy"] or old is None else old.provider
            text = raw.get("HealthDescription") or "healthy"
            since = parse_time(raw["UpdateTime"]) if "UpdateTime" in raw else now
            new = Told(raw["Healthy"], text, since, raw.get("Provider", kept))
            if "AllocID" in raw:
                new.alloc, new.job = raw["AllocID"], job
            elif old and old.alloc and not raw["Healthy"]:
                # It is not known to run any more.
                new.alloc, new.job, new.runs = old.alloc, old.job, False
        if old and replace(old, since=0, missing_since=None) == replace(new, since=0):
            # Nothing else changed, so the time stays; the server itself stamps a return.
            new.since = old.since if old.missing_since is None else now
        self.held[key] = new

    def _items(
        self, node: str, plugins: Mapping[str, Any], wrong: list[Wrong]
    ) -> Iterator[tuple[Key, Any]]:
        for type_, of_type in plugins.items():
            if type_ != TYPE or not isinstance(of_type, dict):
                wrong.append((type_, "", "", "Type"))
                continue
            for plugin, by_role in of_type.items():
                is_id = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", plugin)
                if not is_id or not isinstance(by_role, dict):
                    wrong.append((TYPE, plugin, "", "ID"))
                    continue
                for role, raw in by_role.items():
                    if role != "*" and role not in ROLES:
                        wrong.append((TYPE, plugin, role, "Role"))
                        continue
                    for each in self._roles(node, plugin) if role == "*" else [role]:
                        yield Key(node, plugin, each), raw

    def _roles(self, node: str, plugin: str) -> list[str]:
        """What "*" stands for."""
        known = [role for role in ROLES if Key(node, plugin, role) in self.held]
        return known or [DEFAULT_ROLE]


def wrong_field(raw: Any) -> str | None:
    """The field for which a fingerprint is refused; None when it is good."""
    if not isinstance(raw, dict):
        return ""
    if not isinstance(raw.get("Healthy"), bool):
        return "Healthy"
    return None if isinstance(raw.get("Provider", ""), str) else "Provider"
