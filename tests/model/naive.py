"""A second, naive catalogue: plain dictionaries, written from the rules of the wire format and not
from the code, with everything recounted on each request. It knows one plugin type with two roles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from plugind.errors import Conflict, NotFound
from plugind.model.times import parse_time, time_text

TYPE = "csi"
ROLES = {"controller": "Controllers", "node": "Nodes"}
DEFAULT_ROLE = "node"
REJECTED = "the agent's report of it was rejected: "

Wrong = tuple[str, str, str, str]
"""The type, ID, role and field of a rejected item."""


class Key(NamedTuple):
    node: str
    plugin: str
    role: str


class Shown(NamedTuple):
    """One instance as readers see it; ``text`` is the start of its description."""

    healthy: bool
    text: str
    since: int
    provider: str


class Stub(NamedTuple):
    """The process behind instances as readers see it."""

    id: str
    node: str
    name: str
    job: str
    status: str


@dataclass
class Entry:
    """The last report of an instance, and the time since which it has said the same."""

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
    """A node: ``down_since`` is when it was found to be down, ``heard`` when it was last heard."""

    name: str
    down_since: int | None = None
    heard: int = 0


@dataclass
class Naive:
    """The catalogue. Times are nanoseconds since the epoch. Failing operations raise the wire's
    errors.

    ``forgotten`` has the instances that stay away while they are reported unhealthy, and whether
    they were; ``kept`` has the nodes that are gone and that only their own agents may register.
    """

    nodes: dict[str, Machine] = field(default_factory=dict)
    entries: dict[Key, Entry] = field(default_factory=dict)
    declared: dict[str, dict[str, int]] = field(default_factory=dict)
    forgotten: dict[Key, bool] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)

    def report(
        self, node: str, name: str, plugins: Mapping[str, Any], job: str, now: int
    ) -> list[Wrong]:
        """Take a report; all of its processes belong to one job."""
        wrong: list[Wrong] = []
        reported = set()
        for key, raw in list(self._items(node, plugins, wrong)):
            reported.add(key)
            if raw is None:
                self.entries.pop(key, None)
            else:
                self._take(key, raw, job, now, wrong)
        for key, entry in self.entries.items():
            if key.node == node and key not in reported and entry.missing_since is None:
                entry.missing_since = now
        self._hear(node, now)
        self.nodes[node] = Machine(name)
        self.kept.discard(node)
        return sorted(wrong)

    def heartbeat(self, node: str, is_known_digest: bool, answered: object, now: int) -> None:
        """Take a heartbeat, unless its digest is void.

        ``answered`` is the state of the node's last report and the part of the report that was
        ignored. If either has changed since, through a forget or a declaration, the digest is void.
        """
        if not is_known_digest or node not in self.nodes or answered != self.answered(node):
            raise Conflict
        self._hear(node, now)

    def silence(self, node: str, heard: int, now: int) -> None:
        machine = self.nodes.get(node)
        if machine and machine.down_since is None:
            machine.down_since = now
            machine.heard = min(heard, now)

    def forget_node(self, node: str) -> None:
        """Forget a node, or that it existed, as an operator does."""
        if node in self.nodes:
            self._remove(node)
        else:
            self.unpin(node)

    def leave(self, node: str) -> None:
        """Remove a node that leaves, or that was lost for too long; it may come back."""
        if node not in self.nodes:
            raise NotFound
        self._remove(node)
        self.kept.add(node)

    def unpin(self, node: str) -> None:
        """Forget the secret of a node that is gone."""
        if node not in self.kept:
            raise NotFound
        self.kept.remove(node)

    def _remove(self, node: str) -> None:
        del self.nodes[node]
        self.forgotten = {key: was for key, was in self.forgotten.items() if key.node != node}
        for key in [key for key in self.entries if key.node == node]:
            del self.entries[key]

    def forget_plugin(self, plugin: str) -> None:
        if not self.exists(plugin):
            raise NotFound
        sick = [key for key in self.entries if key.plugin == plugin and not self.shown(key).healthy]
        for key in sick:
            self._forget(key)

    def _forget(self, key: Key) -> None:
        del self.entries[key]
        self.forgotten[key] = False

    def collect(self, cutoff: int) -> None:
        """Forget whatever has been lost since ``cutoff`` or longer."""
        for key, entry in list(self.entries.items()):
            if entry.missing_since is not None and entry.missing_since <= cutoff:
                self._forget(key)
        for node, machine in list(self.nodes.items()):
            if machine.down_since is not None and machine.down_since <= cutoff:
                self.leave(node)

    def declare(self, declared: Mapping[str, Mapping[str, int]]) -> None:
        self.declared = {plugin: dict(expected) for plugin, expected in declared.items()}

    def standing(self, node: str) -> set[Key]:
        """Return the instances of a node that are in its last report."""
        return {
            k for k, entry in self.entries.items() if k.node == node and entry.missing_since is None
        }

    def answered(self, node: str) -> tuple[set[Key], set[Key]]:
        """Return the state that an answer to the node confirms.

        That is the accepted part of its report, and the part that was ignored and would be ignored
        again.
        """
        ignored = {key for key, was in self.forgotten.items() if was and key.node == node}
        return self.standing(node), {key for key in ignored if key.plugin not in self.declared}

    def exists(self, plugin: str) -> bool:
        return plugin in self.declared or any(key.plugin == plugin for key in self.entries)

    def counts(self, plugin: str) -> dict[str, int]:
        """Return Healthy and Expected by role, under their names in the wire format."""
        counts = {}
        for role, plural in ROLES.items():
            shown = list(self.instances(plugin, role).values())
            counts[f"{plural}Healthy"] = len([one for one in shown if one.healthy])
            expected = self.declared.get(plugin, {}).get(role)
            counts[f"{plural}Expected"] = len(shown) if expected is None else expected
        return counts

    def instances(self, plugin: str, role: str) -> dict[str, Shown]:
        """Return the shown instances of a plugin in a role, by node."""
        keys = [key for key in self.entries if (key.plugin, key.role) == (plugin, role)]
        return {key.node: self.shown(key) for key in keys}

    def stubs(self, node: str = "", plugin: str = "") -> list[Stub]:
        """Return the processes of a node or a plugin, each once.

        Each is shown as in the instance that says that it is running, else as in the one that
        changed last.
        """
        found: dict[tuple[str, str], tuple[tuple[Any, ...], Stub]] = {}
        for key, entry in self.entries.items():
            if entry.alloc and node in ("", key.node) and plugin in ("", key.plugin):
                machine = self.nodes[key.node]
                is_lost = machine.down_since is not None
                runs = entry.runs and entry.missing_since is None and not is_lost
                status = "lost" if is_lost else "running" if runs else "failed"
                stub = Stub(entry.alloc, key.node, machine.name, entry.job, status)
                one = ((runs, self.shown(key).since, key), stub)
                found[entry.alloc, key.node] = max(found.get((entry.alloc, key.node), one), one)
        return sorted(stub for _, stub in found.values())

    def shown(self, key: Key) -> Shown:
        """Return an instance as readers see it, unhealthy since the oldest of its reasons."""
        entry, machine = self.entries[key], self.nodes[key.node]
        reasons = [] if entry.healthy else [(entry.since, entry.text)]
        if entry.missing_since is not None:
            reasons.append((entry.missing_since, f"not reported by {machine.name}"))
        if machine.down_since is not None:
            reasons.append((machine.heard, f"nothing heard of node {machine.name}"))
        if entry.missing_since is None and machine.down_since is None:
            return Shown(entry.healthy, entry.text, entry.since, entry.provider)
        since = reasons[0][0]
        time, text = reasons.pop()
        text += f" since {time_text(time)}"
        while reasons:
            time, before = reasons.pop()
            text += f"; before that, since {time_text(time)}: {before}"
        return Shown(False, text, since, entry.provider)

    def _hear(self, node: str, now: int) -> None:
        """Mark a node that was down as back: its healthy instances are healthy since now."""
        machine = self.nodes.get(node)
        if machine and machine.down_since is not None:
            machine.down_since = None
            for key in self.standing(node):
                if self.entries[key].healthy:
                    self.entries[key].since = now

    def _take(self, key: Key, raw: Any, job: str, now: int, wrong: list[Wrong]) -> None:
        old = self.entries.get(key)
        if (bad := wrong_field(raw)) is not None:
            wrong.append((TYPE, key.plugin, key.role, bad))
            said = {} if bad == "Configured" else {"Configured": ""}
            untimed = {**raw, "UpdateTime": "", **said} if isinstance(raw, dict) else raw
            new = Entry(
                False,
                REJECTED + json.dumps(untimed, sort_keys=True),
                now,
                old.provider if old else "",
            )
            if old:
                new.alloc, new.job, new.runs = old.alloc, old.job, old.runs
        else:
            kept = "" if raw["Healthy"] or old is None else old.provider
            text = raw.get("HealthDescription") or "healthy"
            since = parse_time(raw["UpdateTime"]) if "UpdateTime" in raw else now
            new = Entry(raw["Healthy"], text, since, raw.get("Provider", kept))
            if "AllocID" in raw:
                new.alloc, new.job = raw["AllocID"], job
            elif old and old.alloc and not raw["Healthy"]:
                # It is no longer known to be running.
                new.alloc, new.job, new.runs = old.alloc, old.job, False
        if key in self.forgotten:
            is_named = isinstance(raw, dict) and raw.get("Configured") is True
            if not new.healthy and not is_named and key.plugin not in self.declared:
                self.forgotten[key] = True
                return
            del self.forgotten[key]
        if old and replace(old, since=0, missing_since=None) == replace(new, since=0):
            # Nothing else changed, so the time stays; the server itself stamps a return to health.
            is_back = new.healthy and old.missing_since is not None
            new.since = now if is_back else old.since
        self.entries[key] = new

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
        """Return the roles that "*" stands for."""
        for keys in (self.entries, self.forgotten):
            if known := [role for role in ROLES if Key(node, plugin, role) in keys]:
                return known
        return [DEFAULT_ROLE]


def wrong_field(raw: Any) -> str | None:
    """Return the field for which a fingerprint is refused; None if it is valid."""
    if not isinstance(raw, dict):
        return ""
    if not isinstance(raw.get("Healthy"), bool):
        return "Healthy"
    if not isinstance(raw.get("Configured", False), bool):
        return "Configured"
    return None if isinstance(raw.get("Provider", ""), str) else "Provider"
