"""Turns the examination of each socket into its results, considering all sockets of this machine.

The other sockets decide which half a socket is, and which of two allocations counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from plugin_types.csi.assigning import ALL, NONE, Assignment, Evidence, Roles, assign
from plugin_types.csi.examiner import Examination
from plugin_types.csi.finding import Target
from plugin_types.csi.ledger import Entry, Ledger, Post
from plugin_types.csi.roles import ROLES
from plugin_types.csi.sockets import plugin_id
from plugind.plugin_type import ANY_ROLE
from plugind.toolbox import processes

Results = dict[tuple[str, str], dict[str, Any]]

_PROVIDER_MAXIMUM = 128
_STANDBY, _LISTENS, _WAS_HEALTHY, _NAMED = (1 << bit for bit in (61, 60, 59, 58))
_BORN_MAXIMUM = (1 << 58) - 1


@dataclass
class Socket:
    """One existing socket: its last evidence, and the keys in the results of its last probe
    (``given``).

    ``delivered`` are the keys that the core has certainly received: those of the probe before the
    last one. ``hidden`` says why a live socket has no results; "" otherwise.
    """

    target: Target
    id: str
    evidence: Evidence
    given: frozenset[tuple[str, str]] = frozenset()
    delivered: frozenset[tuple[str, str]] = frozenset()
    hidden: str = ""


class Register:
    """The sockets of this machine, for one thread at a time. ``gc_threshold`` is in seconds."""

    def __init__(
        self, gc_threshold: float, ledger: Ledger, now: Callable[[], float] = time.time
    ) -> None:
        self.ledger = ledger
        self._gc_threshold = gc_threshold
        self._now = now
        self._sockets: dict[str, Socket] = {}

    def begin(self, path: str) -> None:
        """Note that a probe of that socket begins, so the core has the results of the probe
        before."""
        if known := self._sockets.get(path):
            known.delivered = known.given

    def leave(self, path: str) -> list[str]:
        """Remove a socket that is no longer a target; return the paths of the sockets whose results
        this may change."""
        gone = self._sockets.pop(path, None)
        return [path for path, one in self._sockets.items() if gone and one.id == gone.id]

    def lives_on(self, path: str) -> bool:
        """Return whether the driver that once listened at that path still runs."""
        entry = self.ledger.socket(path)
        if not entry.process:
            return False
        if processes.runs(entry.process):
            return True
        self.ledger.note(path, replace(entry, process=""))  # the next call need not look for it
        return False

    @property
    def hidden(self) -> str:
        """Return the sockets that have no results because their half is unknown, with the reasons;
        "" if there are none."""
        sockets = sorted(self._sockets.items())
        words = [f"{path}: {one.hidden}" for path, one in sockets if one.hidden]
        more = [f"{len(words) - 3} more sockets"] if len(words) > 3 else []
        return "; ".join([*words[:3], *more])

    def conclude(self, target: Target, found: Examination) -> Results:
        """Return the results of a socket after a probe of it."""
        entry = self._noted(target, found)
        id = self._id_of(target, found, entry)
        known = self._sockets.get(target.path)
        one = Socket(target, id, self._evidence(target, found, id, entry))
        if known and known.id == id:
            one.given, one.delivered = known.given, known.delivered
        if self._is_leftover(target, entry) and (entry.left or (known and known.delivered)):
            self._sockets.pop(target.path, None)
            self.ledger.note(target.path, replace(entry, left=True))
            return {}
        self._sockets[target.path] = one
        among = [each for each in self._sockets.values() if each.id == id]
        assigned = assign([each.evidence for each in among])[target.path]
        self._store(one, found, entry, assigned)
        results = self._results(one, found, assigned, among)
        one.given = frozenset(results)
        one.hidden = f"it is not known which half of {id} it is: {found.problem}"
        if results or not found.listens:
            one.hidden = ""
        return results

    def _noted(self, target: Target, found: Examination) -> Entry:
        """Return the socket's entry as updated by the examination, without storing it."""
        entry = self.ledger.socket(target.path)
        facts, process = found.facts, found.behind.process
        now = int(self._now())
        dead_since = min(entry.dead_since or now, now)
        keeps_age = target.layout is not None and target.layout.alloc_id and entry.born
        born = entry.born if keeps_age or not target.file else target.file[2] // 1000
        return replace(
            entry,
            served=frozenset(facts.details) if facts else entry.served,
            provider=facts.name[:_PROVIDER_MAXIMUM] if facts else entry.provider,
            process=process["Key"] if process else entry.process,
            was_healthy=found.healthy or entry.was_healthy,
            born=min(born, _BORN_MAXIMUM),
            dead_since=0 if found.listens else dead_since,
            left=entry.left and not found.listens,
        )

    def _is_leftover(self, target: Target, entry: Entry) -> bool:
        """Return whether that socket is no longer expected: dead for longer than ``gc_threshold``,
        and found only by a glob.

        After a restart of the agent, such a socket is reported once more if it has not left yet,
        since only reported instances can leave.
        """
        if target.named or not entry.dead_since:
            return False
        return self._now() - entry.dead_since > self._gc_threshold

    def _id_of(self, target: Target, found: Examination, entry: Entry) -> str:
        """Return the plugin's ID, which stays the same once it is known."""
        if not (target.layout and target.layout.alloc_id) or target.named:
            return target.id
        if found.behind.mounted:
            return found.behind.mounted[0]
        stored = self.ledger.tasks.get(found.behind.task.key, Post()).id or entry.id
        if stored or not target.driver_names:
            return stored or target.id
        named = self.ledger.id_of(entry.provider)
        return named or (plugin_id(entry.provider) if entry.provider else target.id)

    def _evidence(self, target: Target, found: Examination, id: str, entry: Entry) -> Evidence:
        layout, mounted = target.layout, found.behind.mounted
        said = mounted[1] if mounted else NONE
        if target.named or layout is None or not layout.alloc_id:
            said = frozenset({target.role}) if target.role else (layout.roles if layout else NONE)
        post = self.ledger.tasks.get(found.behind.task.key, Post())
        return Evidence(
            path=target.path,
            said=said,
            whole=layout is None or target.named,
            served=entry.served or (frozenset() if found.facts else None),
            stored_task=post.roles if post.id == id else NONE,
            stored_path=entry.roles if entry.id == id else NONE,
            task=found.behind.task.key,
            listens=found.listens,
            born=entry.born,
        )

    def _store(self, one: Socket, found: Examination, entry: Entry, assigned: Assignment) -> None:
        layout = one.target.layout
        if layout and one.id == layout.alloc_id:
            self.ledger.note(one.target.path, entry)  # the ID is a mere stand-in: not stored
            return
        roles = assigned.roles if assigned.certain else entry.roles
        self.ledger.note(one.target.path, replace(entry, id=one.id, roles=roles))
        if layout and not one.target.named:
            key = found.behind.task.key
            before = self.ledger.tasks.get(key, Post()).roles
            post = Post(one.id, assigned.roles if assigned.certain else before)
            self.ledger.note_task(key, post)

    def _results(
        self, one: Socket, found: Examination, assigned: Assignment, among: list[Socket]
    ) -> Results:
        served = one.evidence.served
        if not served and one.evidence.said != assigned.roles and assigned.roles == ALL:
            return self._unknown(one, found, assigned)
        kept = self._kept(one, assigned.roles, among)
        results: Results = {}
        for role in ROLES:
            if role not in assigned.roles | kept:
                continue
            standby = assigned.standby or role not in assigned.roles
            if served is None or role in served:
                results[one.id, role] = self._fingerprint(one, found, role, standby=standby)
            elif assigned.roles == one.evidence.said == frozenset({role}):
                says = (
                    "configuration says it has"
                    if one.target.named
                    else "Nomad runs it as one that has"
                )
                lacking = f"the driver has no {role.capitalize()} service, but {says}"
                sick = replace(found, problem=found.problem or lacking)
                results[one.id, role] = self._fingerprint(one, sick, role)
        return results or ({} if served is None else self._unknown(one, found, assigned))

    def _unknown(self, one: Socket, found: Examination, assigned: Assignment) -> Results:
        """Return the result for a driver that serves neither half, or whose halves are unknown."""
        problem = found.problem or "the driver has neither the Controller nor the Node service"
        sick = replace(found, problem=problem)
        return {(one.id, ANY_ROLE): self._fingerprint(one, sick, "", standby=assigned.standby)}

    def _kept(self, one: Socket, roles: Roles, among: list[Socket]) -> Roles:
        """Return the halves that the socket had before and that now belong to another socket, until
        the core has the other's results. Halves that were removed any earlier would be reported as
        gone on purpose."""
        others = [other.delivered for other in among if other is not one]
        return frozenset(
            role
            for id, role in one.given
            if id == one.id
            and role in (one.evidence.served or NONE) - roles
            and not any((id, role) in keys for keys in others)
        )

    def _fingerprint(
        self, one: Socket, found: Examination, role: str, *, standby: bool = False
    ) -> dict[str, Any]:
        details = found.facts.details.get(role, {}) if found.facts else {}
        problem = found.problem_of(role)
        behind = found.behind
        alloc_id = {"AllocID": behind.task.alloc_id} if behind.task.alloc_id else {}
        return {
            **details,
            **({"Process": behind.process} if behind.process else {"Process": None, **alloc_id}),
            "Healthy": not problem,
            "HealthDescription": problem or "healthy",
            "Succession": self._succession(one, standby=standby),
        }

    def _succession(self, one: Socket, *, standby: bool) -> Mapping[str, Any]:
        """Return the rank of the socket among others of its ID and role.

        As in Nomad, the newest socket that was ever healthy counts, and an older one once the
        newest is gone.
        """
        entry = self.ledger.socket(one.target.path)
        rank = (
            (0 if standby else _STANDBY)
            + (_LISTENS if one.evidence.listens else 0)
            + (_WAS_HEALTHY if entry.was_healthy else 0)
            + (_NAMED if one.target.named else 0)
            + entry.born
        )
        return {"Of": entry.provider, "Rank": rank}
