"""Random lives of one plugin in two forms: as transitions, and second by second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from plugind.availability.sums import Group, Present, Window
from plugind.model import (
    APPEARED,
    DOWN,
    EXPECTED,
    FLAPPING,
    HEALTHY,
    LEFT,
    REASON,
    UNHEALTHY,
    VERSION,
    InstanceKey,
    Run,
    Transition,
)
from plugind.model.changes import expected_text
from plugind.model.times import SECOND

NODES = ("n1", "n2", "n3")
ROLES = ("controller", "node")
KEYS = [InstanceKey(node, "t", "p", role) for node in NODES for role in ROLES]

EVENTS = st.one_of(
    st.tuples(st.just("report"), st.sampled_from(KEYS), st.booleans()),
    st.tuples(st.just("flap"), st.sampled_from(KEYS), st.integers(1, 9), st.booleans()),
    st.tuples(st.just("leave"), st.sampled_from(KEYS)),
    st.tuples(st.just("talk"), st.sampled_from(KEYS), st.sampled_from([REASON, VERSION])),
    st.tuples(st.just("silence"), st.sampled_from(NODES), st.integers(0, 9)),
    st.tuples(st.just("hear"), st.sampled_from(NODES)),
    st.tuples(
        st.just("declare"),
        st.none() | st.dictionaries(st.sampled_from(ROLES), st.integers(0, 3), min_size=1),
    ),
)
LIVES = st.lists(st.tuples(st.integers(1, 9), EVENTS), max_size=40)


@dataclass
class World:
    """What was true at each second so far: the word of each instance, and the declarations.

    A word is "" for an instance that did not exist; a number is the share that was healthy.
    """

    now: int = 0
    words: dict[InstanceKey, Any] = field(default_factory=lambda: dict.fromkeys(KEYS, ""))
    own: dict[InstanceKey, str] = field(default_factory=dict)
    unheard: set[str] = field(default_factory=set)
    declared: Mapping[str, int] | None = None
    past: list[tuple[dict[InstanceKey, Any], Mapping[str, int]]] = field(default_factory=list)
    rows: list[Transition] = field(default_factory=list)
    changed: Counter[InstanceKey] = field(default_factory=Counter)

    def live(self, seconds: int) -> None:
        for _ in range(seconds):
            self.past.append((dict(self.words), self.declared or {}))
            self.now += 1

    def do(self, what: str, *about: Any) -> None:
        getattr(self, f"_{what}")(*about)

    def _row(self, kind: str, key: InstanceKey, before: str, after: str, **more: Any) -> None:
        time = self.now * SECOND
        names = key.type, key.id, key.role, key.node_id, key.node_id
        is_healthy = HEALTHY in (after, "" if after else before)
        given = {"since": time, **more}
        self.rows.append(
            Transition(
                kind, time, given.pop("since"), *names, before, after, "", is_healthy, **given
            )
        )

    def _become(self, key: InstanceKey, word: str, **more: Any) -> None:
        before = self.words[key]
        if before == word:
            return
        kind = HEALTHY if word == HEALTHY else UNHEALTHY
        kind = APPEARED if not before else LEFT if not word else kind
        self._row(kind, key, before, word, **more)
        self.words[key] = word
        self.changed[key] = self.now

    def _report(self, key: InstanceKey, is_healthy: bool) -> None:
        self._hear(key.node_id)
        self.own[key] = HEALTHY if is_healthy else UNHEALTHY
        self._become(key, self.own[key])

    def _leave(self, key: InstanceKey) -> None:
        self.own.pop(key, None)
        self._become(key, "")

    def _talk(self, key: InstanceKey, kind: str) -> None:
        if self.words[key]:
            self._row(kind, key, "some", "text")

    def _silence(self, node: str, heard: int) -> None:
        """Mark a node as last heard ``heard`` seconds ago, with no change since."""
        if node in self.unheard:
            return
        self.unheard.add(node)
        for key in KEYS:
            if key.node_id == node and self.words[key]:
                since = max(0, self.now - heard)
                for second in range(max(since, self.changed[key]), self.now):
                    self.past[second][0][key] = DOWN
                self._become(key, DOWN, since=since * SECOND)

    def _hear(self, node: str) -> None:
        if node in self.unheard:
            self.unheard.discard(node)
            for key in KEYS:
                if key.node_id == node and key in self.own:
                    self._become(key, self.own[key])

    def _flap(self, key: InstanceKey, seconds: int, ends_healthy: bool) -> None:
        """Make an instance change constantly for some seconds; it is healthy in half of them."""
        before = self.words[key]
        if not before or before == DOWN:
            return
        start = self.now
        self.words[key] = seconds // 2 / seconds
        self.live(seconds)
        word = HEALTHY if ends_healthy else UNHEALTHY
        until, half = self.now * SECOND, seconds // 2
        self.now = start  # the time of the row is that of the first change
        more = {"count": seconds, "healthy_seconds": half, "until": until}
        self._row(FLAPPING, key, before, word, **more)
        self.now = until // SECOND
        self.own[key] = self.words[key] = word
        self.changed[key] = self.now

    def _declare(self, declared: Mapping[str, int] | None) -> None:
        if declared != self.declared:
            time = self.now * SECOND
            words = expected_text(self.declared), expected_text(declared)
            self.rows.append(
                Transition(EXPECTED, time, time, "t", "p", "", "", "", *words, "", False)
            )
            self.declared = declared

    @property
    def newest_first(self) -> list[Transition]:
        return self.rows[::-1]

    @property
    def present(self) -> Present:
        there = {key: word for key, word in self.words.items() if word}
        return Present(there, {Group("t", r): n for r, n in (self.declared or {}).items()})


def world_of(life: Sequence[tuple[int, Any]]) -> World:
    world = World()
    for seconds, event in life:
        world.live(seconds)
        world.do(*event)
    world.live(1)
    return world


@dataclass
class Naive:
    """The seconds, counted one by one."""

    healthy: float = 0
    unhealthy: float = 0
    node_down: float = 0
    unknown: float = 0
    observed: float = 0
    any_healthy: float = 0
    watched: float = 0


def naive(world: World, role: str, window: Window, runs: Sequence[Run]) -> Naive:
    found = Naive()
    for second in range(window.start // SECOND, window.end // SECOND):
        words, declared = world.past[second]
        of_role = [words[key] for key in KEYS if key.role == role]
        there = [word for word in of_role if word != ""]
        healthy = sum(_share(word) for word in there)
        away = sum(_is_away(world, key, second) for key in KEYS if key.role == role)
        expected = declared.get(role, len(there))
        away = 0 if role in declared else away
        if not any(run.start <= second * SECOND < run.end for run in runs):
            found.unknown += expected + away
            continue
        found.unknown += away
        if not expected:
            continue
        down = min(there.count(DOWN), expected - min(healthy, expected))
        found.observed += expected
        found.healthy += min(healthy, expected)
        found.node_down += down
        found.unhealthy += expected - min(healthy, expected) - down
        found.any_healthy += min(1, healthy)
        found.watched += 1
    return found


def _share(word: Any) -> float:
    return word if isinstance(word, float) else float(word == HEALTHY)


def _is_away(world: World, key: InstanceKey, second: int) -> bool:
    """Return whether an instance was seen both before and after a second in which it was not."""
    seen = [words[key] != "" for words, _ in world.past]
    return not seen[second] and any(seen[:second]) and any(seen[second:])
