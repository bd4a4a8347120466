"""The decisions that follow from a caller's policies, each with the rule that decided.

All decisions are prepared when an ``Authorizer`` is created. Later each decision is only looked up,
after at most a short scan for the pattern that a namespace matches. Requests and explanations use
the same decisions.

plugind has one namespace, ``default``, and shows the same plugins in every namespace. A request for
another namespace is decided by the rule for that namespace, unless ``default`` is denied. If the
closest rule is a pattern that also matches ``default``, such as ``*``, it allows no more than the
rule for ``default``: otherwise any other name would reveal what that rule withholds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from plugind.acl.policies import Policy, Rule
from plugind.acl.vocabulary import LIST, NAMESPACE, READ, REGISTER, WRITE, Vocabulary, capability

ANY_NAMESPACE = "*"
DEFAULT_NAMESPACE = "default"
NAME_MAXIMUM = 128
"""Characters of a namespace's name, in Nomad and here."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether something is allowed, and the rule that decided.

    ``allow`` and ``deny`` mean that the rule says so; a management token is allowed everything
    without a rule. ``none`` means that no rule allows it; ``rule`` is then the closest rule that
    could have, if any.
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
    """The decisions of some rules, by level or capability, with one decision for all others."""

    known: Mapping[str, Decision]
    otherwise: Decision = NO_RULE

    def __getitem__(self, asked: str) -> Decision:
        return self.known.get(asked, self.otherwise)


NOTHING = Verdicts({})


class Glob:
    """A pattern in which each ``*`` stands for any characters, or none.

    Of the patterns that match a name, the closest is the one with the most ``literals``, because
    its stars match the fewest characters; of patterns with the same number, it is the last by name,
    as in Nomad.
    """

    __slots__ = ("_first", "_last", "_middle", "literals", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._first, *self._middle, self._last = pattern.split("*")
        self.literals = len(pattern) - pattern.count("*")

    def matches(self, name: str) -> bool:
        """Return whether the pattern matches a name.

        This takes linear time, because the first occurrence of each text between stars will do.
        """
        if not (name.startswith(self._first) and name.endswith(self._last)):
            return False
        at, end = len(self._first), len(name) - len(self._last)
        for part in self._middle:
            at = name.find(part, at, end) + len(part)
            if at < len(part):
                return False
        return at <= end


class Authorizer:
    """The rights that policies grant together; ``namespaces`` has the decisions by pattern."""

    def __init__(self, policies: Iterable[Policy], vocabulary: Vocabulary) -> None:
        rules = [rule for policy in policies for rule in policy.rules]
        by_pattern: dict[str, list[Rule]] = {}
        for rule in rules:
            if rule.kind == NAMESPACE:
                by_pattern.setdefault(rule.label, []).append(rule)
        self.namespaces = {
            pattern: _namespace(found, vocabulary) for pattern, found in by_pattern.items()
        }
        globs = [Glob(pattern) for pattern in self.namespaces if "*" in pattern]
        self._globs = sorted(globs, key=lambda glob: (glob.literals, glob.pattern), reverse=True)
        self._any = _first_allowed(self.namespaces.values())
        self._default = self._verdicts(self._closest(DEFAULT_NAMESPACE))
        self._shadowed = {glob.pattern for glob in globs if glob.matches(DEFAULT_NAMESPACE)}
        self._shadowed -= {self._closest(DEFAULT_NAMESPACE)}
        self._any_shown = _first_allowed(
            verdicts
            for pattern, verdicts in self.namespaces.items()
            if pattern not in self._shadowed
        )
        self.plugins = _levels(rules, "plugin", {LIST: (LIST, READ), READ: (READ,)})
        self.nodes = _levels(rules, "node", {READ: (READ, WRITE), WRITE: (WRITE,)})
        self.agents = _levels(rules, "agent", {READ: (READ, WRITE)})

    def may_list(self, type_: str, namespace: str) -> Decision:
        """Return whether plugins of a type may be listed; ``*`` means any namespace."""
        return self._may_look(LIST, type_, namespace)

    def may_read(self, type_: str, namespace: str) -> Decision:
        return self._may_look(READ, type_, namespace)

    def may_register(self, type_: str, namespace: str) -> Decision:
        """Return whether plugins of a type may be reported; ``*`` means any namespace."""
        name = capability(type_, REGISTER)
        any_ = namespace == ANY_NAMESPACE
        decision = self._any[name] if any_ else self._in_namespace(name, namespace)
        node = self.nodes[WRITE]
        return node if node.allowed and not decision.allowed else decision

    def may_read_nodes(self) -> Decision:
        return self.nodes[READ]

    def may_write_nodes(self) -> Decision:
        return self.nodes[WRITE]

    def may_read_agent(self) -> Decision:
        return self.agents[READ]

    def may_manage(self) -> Decision:
        """Return whether the caller may see tokens, and forget plugins and nodes."""
        return NO_RULE

    def _may_look(self, action: str, type_: str, namespace: str) -> Decision:
        """Return whether plugins may be seen; no namespace rule overrides the plugin rule."""
        plugin = self.plugins[action]
        if plugin.effect != "none":
            return plugin
        return self._in_namespace(capability(type_, action), namespace)

    def _in_namespace(self, name: str, namespace: str) -> Decision:
        """Return whether a capability is granted in a namespace, as far as ``default`` allows."""
        by_default = self._default[name]
        if by_default.effect == "deny":
            return by_default
        if namespace == ANY_NAMESPACE:
            return self._any_shown[name]
        pattern = self._closest(namespace)
        decision = self._verdicts(pattern)[name]
        return by_default if decision.allowed and pattern in self._shadowed else decision

    def _closest(self, namespace: str) -> str | None:
        """Return the pattern of the rules that apply to a namespace; None when none apply."""
        if namespace in self.namespaces and "*" not in namespace:
            return namespace
        if len(namespace) <= NAME_MAXIMUM:
            for glob in self._globs:
                if glob.matches(namespace):
                    return glob.pattern
        return None

    def _verdicts(self, pattern: str | None) -> Verdicts:
        return NOTHING if pattern is None else self.namespaces[pattern]


class Management(Authorizer):
    """The rights of a management token, which may do everything."""

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


def _namespace(rules: Iterable[Rule], vocabulary: Vocabulary) -> Verdicts:
    """Return the combined grants of the rules for one pattern, or a denial if any of them denies.

    A capability is listed with the first rule that grants it.
    """
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
    """Return the decisions of the rules of one kind.

    ``wanted`` maps each level that a request may need to the levels that grant it.
    """
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
    for verdicts in namespaces:
        for name, decision in verdicts.known.items():
            known.setdefault(name, decision)
    return Verdicts(known)
