"""Decides what the policies of a caller allow, and says which rule decided.

Everything is worked out when an ``Authorizer`` is made: a decision is looked up, after at most a
short scan for the pattern that a namespace falls under. What decides and what explains is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from plugind.acl.policies import Policy, Rule
from plugind.acl.vocabulary import LIST, NAMESPACE, READ, REGISTER, WRITE, Vocabulary, capability

ANY_NAMESPACE = "*"
NAME_MAXIMUM = 128
"""Characters of a namespace's name, in Nomad and here."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether something is allowed, and by which rule.

    ``allow`` and ``deny``: the rule says so; a management token is allowed without a rule.
    ``none``: nothing allows it; the rule, if any, is the closest one that might have.
    """

    effect: Literal["allow", "deny", "none"]
    rule: Rule | None = None

    @property
    def allowed(self) -> bool:
        return self.effect == "allow"


ALLOWED = Decision("allow")
NO_RULE = Decision("none")


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What some rules come to: a decision by what is asked for, and one for all else."""

    known: Mapping[str, Decision]
    otherwise: Decision = NO_RULE

    def __getitem__(self, asked: str) -> Decision:
        return self.known.get(asked, self.otherwise)


NOTHING = Verdicts({})


class Glob:
    """A pattern in which each ``*`` stands for any characters, or none.

    Of those that match a name, the closest is the one with the most ``literals``, for its stars
    match the fewest characters; among equals the last one by name, as in Nomad.
    """

    __slots__ = ("_first", "_last", "_middle", "literals", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._first, *self._middle, self._last = pattern.split("*")
        self.literals = len(pattern) - pattern.count("*")

    def matches(self, name: str) -> bool:
        """In linear time: what stands between stars may be taken where it is first found."""
        if not (name.startswith(self._first) and name.endswith(self._last)):
            return False
        at, end = len(self._first), len(name) - len(self._last)
        for part in self._middle:
            at = name.find(part, at, end) + len(part)
            if at < len(part):
                return False
        return at <= end


class Authorizer:
    """The rights that policies give together. ``namespaces`` has what each pattern comes to."""

    def __init__(self, policies: Iterable[Policy], vocabulary: Vocabulary) -> None:
        rules = [rule for policy in policies for rule in policy.rules]
        self.namespaces = {
            pattern: _namespace(found, vocabulary) for pattern, found in _by_pattern(rules).items()
        }
        globs = [Glob(pattern) for pattern in self.namespaces if "*" in pattern]
        self._globs = sorted(globs, key=lambda glob: (glob.literals, glob.pattern), reverse=True)
        self._any = _first_allowed(self.namespaces.values())
        self.plugins = _levels(rules, "plugin", {LIST: (LIST, READ), READ: (READ,)})
        self.nodes = _levels(rules, "node", {READ: (READ, WRITE), WRITE: (WRITE,)})
        self.agents = _levels(rules, "agent", {READ: (READ, WRITE)})

    def may_list(self, type_: str, namespace: str) -> Decision:
        """Whether plugins of a type may be listed in a namespace; ``*`` stands for any."""
        return self._may_look(LIST, type_, namespace)

    def may_read(self, type_: str, namespace: str) -> Decision:
        return self._may_look(READ, type_, namespace)

    def may_register(self, type_: str, namespace: str) -> Decision:
        """Whether plugins of a type may be reported."""
        decision = self._in_namespace(capability(type_, REGISTER), namespace)
        node = self.nodes[WRITE]
        return node if node.allowed and not decision.allowed else decision

    def may_read_nodes(self) -> Decision:
        return self.nodes[READ]

    def may_write_nodes(self) -> Decision:
        return self.nodes[WRITE]

    def may_read_agent(self) -> Decision:
        return self.agents[READ]

    def may_manage(self) -> Decision:
        """Whether tokens may be seen, and plugins and nodes be forgotten."""
        return NO_RULE

    def _may_look(self, action: str, type_: str, namespace: str) -> Decision:
        """What the plugin rule denies no namespace can grant."""
        plugin = self.plugins[action]
        if plugin.effect != "none":
            return plugin
        return self._in_namespace(capability(type_, action), namespace)

    def _in_namespace(self, name: str, namespace: str) -> Decision:
        if namespace == ANY_NAMESPACE:
            return self._any[name]
        return self._closest(namespace)[name]

    def _closest(self, namespace: str) -> Verdicts:
        exact = self.namespaces.get(namespace)
        if exact is not None and "*" not in namespace:
            return exact
        if len(namespace) <= NAME_MAXIMUM:
            for glob in self._globs:
                if glob.matches(namespace):
                    return self.namespaces[glob.pattern]
        return NOTHING


class Management(Authorizer):
    """May do everything."""

    def __init__(self) -> None:
        super().__init__((), Vocabulary.of(()))

    def may_register(self, type_: str, namespace: str) -> Decision:
        return ALLOWED

    def may_read_nodes(self) -> Decision:
        return ALLOWED

    def may_write_nodes(self) -> Decision:
        return ALLOWED

    def may_read_agent(self) -> Decision:
        return ALLOWED

    def may_manage(self) -> Decision:
        return ALLOWED

    def _may_look(self, action: str, type_: str, namespace: str) -> Decision:
        return ALLOWED


def _by_pattern(rules: Iterable[Rule]) -> dict[str, list[Rule]]:
    found: dict[str, list[Rule]] = {}
    for rule in rules:
        if rule.kind == NAMESPACE:
            found.setdefault(rule.label, []).append(rule)
    return found


def _namespace(rules: Iterable[Rule], vocabulary: Vocabulary) -> Verdicts:
    """What the rules of one pattern come to: their union, unless one denies."""
    granted: dict[str, Decision] = {}
    closest = None
    for rule in rules:
        if rule.denies:
            return Verdicts({}, Decision("deny", rule))
        closest = closest or rule
        for name in rule.capabilities | vocabulary.shorthand(rule.level):
            granted.setdefault(name, Decision("allow", rule))
    return Verdicts(granted, Decision("none", closest))


def _levels(rules: Iterable[Rule], kind: str, wanted: Mapping[str, Iterable[str]]) -> Verdicts:
    """What the rules of one kind come to. ``wanted``: which levels grant what may be asked for."""
    found = [rule for rule in rules if rule.kind == kind]
    for rule in found:
        if rule.denies:
            return Verdicts({}, Decision("deny", rule))
    granted = {
        asked: Decision("allow", rule)
        for asked, levels in wanted.items()
        for rule in reversed(found)
        if rule.level in levels
    }
    return Verdicts(granted, Decision("none", found[0]) if found else NO_RULE)


def _first_allowed(namespaces: Iterable[Verdicts]) -> Verdicts:
    known: dict[str, Decision] = {}
    for name, decision in _decisions(namespaces):
        known.setdefault(name, decision)
    return Verdicts(known)


def _decisions(namespaces: Iterable[Verdicts]) -> Iterator[tuple[str, Decision]]:
    for verdicts in namespaces:
        yield from verdicts.known.items()
