"""Decisions: the rules of precedence one by one, and all of them against a naive implementation."""

# A row of a table reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plugind.acl import Authorizer, Caller, Decision, Policy, Rule
from plugind.acl.authorizer import Glob, Management
from plugind.acl.vocabulary import KINDS, Vocabulary
from plugind.config.tree import Place
from tests.acl.support import TYPES, policies

VOCABULARY = Vocabulary.of(TYPES)
LIST = 'capabilities = ["disk-list-plugin"]'


def authorizer(folder: Path, **files: str) -> Authorizer:
    acl = policies(folder, **files)
    return acl.authorizer(Caller("", "", "client", tuple(files)))


def by(decision: Decision) -> str:
    """Format a decision and the rule that made it: ``allow a.hcl:1``."""
    rule = decision.rule
    where = f" {Path(rule.place.source).name}:{rule.place.line}" if rule else ""
    return decision.effect + where


@pytest.mark.parametrize(
    ("text", "listed", "read", "registered"),
    [
        ("", "none", "none", "none"),
        (f'namespace "default" {{ {LIST} }}', "allow a.hcl:1", "none a.hcl:1", "none a.hcl:1"),
        ('namespace "default" { capabilities = ["disk-read-plugin"] }', "none a.hcl:1", "allow a.hcl:1", "none a.hcl:1"),
        ('namespace "default" { capabilities = ["disk-register-plugin"] }', "none a.hcl:1", "none a.hcl:1", "allow a.hcl:1"),
        ('namespace "default" { capabilities = ["net-list-plugin"] }', "none a.hcl:1", "none a.hcl:1", "none a.hcl:1"),
        ('namespace "default" { policy = "read" }', "allow a.hcl:1", "allow a.hcl:1", "none a.hcl:1"),
        ('namespace "default" { policy = "write" }', "allow a.hcl:1", "allow a.hcl:1", "none a.hcl:1"),
        ('namespace "default" { policy = "scale" }', "none a.hcl:1", "none a.hcl:1", "none a.hcl:1"),
        ('namespace "default" { policy = "list" }', "none a.hcl:1", "none a.hcl:1", "none a.hcl:1"),
        (f'namespace "default" {{ policy = "deny"\n{LIST} }}', "deny a.hcl:1", "deny a.hcl:1", "deny a.hcl:1"),
        ('namespace "default" { policy = "read"\ncapabilities = ["deny"] }', "deny a.hcl:1", "deny a.hcl:1", "deny a.hcl:1"),
        ('namespace "other" { policy = "read" }', "none", "none", "none"),
        ('namespace "*" { policy = "read" }\nnamespace "default" {}', "none a.hcl:2", "none a.hcl:2", "none a.hcl:2"),
        ('namespace "*" { policy = "deny" }\nnamespace "default" { policy = "read" }', "allow a.hcl:2", "allow a.hcl:2", "none a.hcl:2"),
        ('namespace "*" { policy = "read" }\nnamespace "def*" { policy = "deny" }', "deny a.hcl:2", "deny a.hcl:2", "deny a.hcl:2"),
        ('plugin { policy = "list" }', "allow a.hcl:1", "none", "none"),
        ('plugin { policy = "read" }', "allow a.hcl:1", "allow a.hcl:1", "none"),
        ('plugin { policy = "write" }', "none", "none", "none"),
        ('namespace "default" { policy = "read" }\nplugin { policy = "deny" }', "deny a.hcl:2", "deny a.hcl:2", "none a.hcl:1"),
        ('namespace "default" { policy = "read" }\nplugin { policy = "write" }', "allow a.hcl:1", "allow a.hcl:1", "none a.hcl:1"),
        ('namespace "default" { policy = "deny" }\nplugin { policy = "list" }', "allow a.hcl:2", "deny a.hcl:1", "deny a.hcl:1"),
        ('node { policy = "write" }', "none", "none", "allow a.hcl:1"),
        ('node { policy = "write" }\nnamespace "default" { policy = "deny" }', "deny a.hcl:2", "deny a.hcl:2", "allow a.hcl:1"),
        ('node { policy = "read" }', "none", "none", "none"),
        ('node { policy = "deny" }\nnamespace "default" { capabilities = ["disk-register-plugin"] }', "none a.hcl:2", "none a.hcl:2", "allow a.hcl:2"),
    ],
)  # fmt: skip
def test_one_policy(tmp_path: Path, text: str, listed: str, read: str, registered: str) -> None:
    rights = authorizer(tmp_path, a=text)
    assert by(rights.may_list("disk", "default")) == listed
    assert by(rights.may_read("disk", "default")) == read
    assert by(rights.may_register("disk", "default")) == registered
    assert by(rights.may_manage()) == "none"


@pytest.mark.parametrize(
    ("level", "node_read", "node_write", "agent_read"),
    [
        ("read", "allow", "none", "allow"),
        ("write", "allow", "allow", "allow"),
        ("scale", "none", "none", "none"),
        ("deny", "deny", "deny", "deny"),
    ],
)
def test_nodes_and_the_agent(
    tmp_path: Path, level: str, node_read: str, node_write: str, agent_read: str
) -> None:
    text = f'node {{ policy = "{level}" }}\nagent {{ policy = "{level}" }}\n'
    rights = authorizer(tmp_path, a=text)
    assert by(rights.may_read_nodes()) == f"{node_read} a.hcl:1"
    assert by(rights.may_write_nodes()) == f"{node_write} a.hcl:1"
    assert by(rights.may_read_agent()) == f"{agent_read} a.hcl:2"


def test_policies_are_united_and_deny_wins_among_the_same_pattern(tmp_path: Path) -> None:
    files = {
        "a": 'namespace "n" { capabilities = ["disk-list-plugin"] }\nnode { policy = "read" }\n',
        "b": 'namespace "n" { capabilities = ["disk-read-plugin"] }\nnode { policy = "write" }\n',
        "c": 'namespace "n" { policy = "deny" }\nnode { policy = "deny" }\n',
        "d": 'namespace "n*" { policy = "deny" }\nplugin { policy = "list" }\n',
    }
    acl = policies(tmp_path, **files)
    rights = acl.authorizer(Caller("", "", "client", ("a", "b", "d")))
    assert by(rights.may_list("disk", "n")) == "allow d.hcl:2"
    assert by(rights.may_read("disk", "n")) == "allow b.hcl:1"
    assert by(rights.may_read("disk", "nn")) == "deny d.hcl:1"
    assert by(rights.may_read_nodes()) == "allow a.hcl:2"
    assert by(rights.may_write_nodes()) == "allow b.hcl:2"
    rights = acl.authorizer(Caller("", "", "client", ("a", "b", "c")))
    assert by(rights.may_list("disk", "n")) == "deny c.hcl:1"
    assert by(rights.may_read_nodes()) == "deny c.hcl:2"


def test_a_star_asks_for_any_namespace(tmp_path: Path) -> None:
    rights = authorizer(
        tmp_path,
        a=f'namespace "secret" {{ policy = "deny" }}\nnamespace "team-*" {{ {LIST} }}\n',
    )
    assert by(rights.may_list("disk", "*")) == "allow a.hcl:2"
    assert by(rights.may_read("disk", "*")) == "none"
    assert by(rights.may_list("net", "*")) == "none"
    any_type = authorizer(tmp_path / "x", a='plugin { policy = "read" }')
    assert by(any_type.may_list("net", "*")) == "allow a.hcl:1"
    denied = authorizer(
        tmp_path / "y", a='plugin { policy = "deny" }\nnamespace "*" { policy = "read" }'
    )
    assert by(denied.may_list("disk", "*")) == "deny a.hcl:1"


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("production-api-web", "production-api-*"),
        ("production-web", "production-*"),
        ("staging-web", "*-web"),
        ("staging", "*"),
        ("production-api-", "production-api-*"),
        ("production", "*"),
        ("a-b", "a-*"),  # as close as *-b
        ("", "*"),
        ("production-*", "production-*"),
        ("q*", "q**"),  # no namespace has such a name; asked for it, nothing special happens
        ("x" * 128, "*"),
        ("x" * 129, None),
    ],
)
def test_the_closest_pattern_rules(tmp_path: Path, name: str, pattern: str | None) -> None:
    patterns = ["*", "production-*", "production-api-*", "*-web", "a-*", "*-b", "q*", "q**"]
    text = "".join(f'namespace "{each}" {{ policy = "read" }}\n' for each in patterns)
    rule = authorizer(tmp_path, a=text).may_list("disk", name).rule
    assert (rule.label if rule else None) == pattern


def test_management_may_do_everything(tmp_path: Path) -> None:
    acl = policies(tmp_path)
    rights = acl.authorizer(Caller("", "", "management"))
    asked = [
        rights.may_list("none", "x"),
        rights.may_read("none", "x"),
        rights.may_register("none", "x"),
        rights.may_read_nodes(),
        rights.may_write_nodes(),
        rights.may_read_agent(),
        rights.may_manage(),
    ]
    assert [by(decision) for decision in asked] == ["allow"] * 7
    questions = {name for name in dir(Authorizer) if name.startswith("may_")}
    assert len(questions) == len(asked)
    for name in questions - {"may_list", "may_read"}:
        assert name in vars(Management), f"{name} is not answered for management"


def test_a_set_of_policies_is_worked_out_once(tmp_path: Path) -> None:
    acl = policies(tmp_path, a="", b="")
    first = acl.authorizer(Caller("1", "x", "client", ("a", "b")))
    assert acl.authorizer(Caller("2", "y", "client", ("a", "b"))) is first
    assert acl.authorizer(Caller("1", "x", "client", ("a",))) is not first


TEAM_ONLY = 'namespace "team" { policy = "read" }'
TEAMS_ONLY = 'namespace "team-*" { policy = "read" }'
DENIED = 'namespace "default" { policy = "deny" }'
NO_RULES = 'namespace "default" {}'
LISTED = f'namespace "default" {{ {LIST} }}'
ALL = 'namespace "*" { policy = "read" }'


@pytest.mark.parametrize(
    ("rules", "namespace", "listed", "read"),
    [
        # A denial for the only existing namespace holds for every other name.
        ([DENIED, ALL], "nonexistent", "deny a.hcl:1", "deny a.hcl:1"),
        ([DENIED, ALL], "*", "deny a.hcl:1", "deny a.hcl:1"),
        ([DENIED, TEAM_ONLY], "team", "deny a.hcl:1", "deny a.hcl:1"),
        ([DENIED, TEAMS_ONLY], "team-a", "deny a.hcl:1", "deny a.hcl:1"),
        (['namespace "def*" { policy = "deny" }', ALL], "nonexistent", "deny a.hcl:1", "deny a.hcl:1"),
        # A pattern that default falls under as well gives no more than default has.
        ([NO_RULES, ALL], "nonexistent", "none a.hcl:1", "none a.hcl:1"),
        ([NO_RULES, ALL], "*", "none", "none"),
        ([LISTED, ALL], "nonexistent", "allow a.hcl:1", "none a.hcl:1"),
        ([LISTED, ALL], "*", "allow a.hcl:1", "none"),
        ([ALL], "nonexistent", "allow a.hcl:1", "allow a.hcl:1"),
        ([ALL], "*", "allow a.hcl:1", "allow a.hcl:1"),
        ([ALL, 'namespace "d*" {}'], "nonexistent", "none a.hcl:2", "none a.hcl:2"),
        # Rules for other namespaces go on working, as those of Nomad's teams do.
        ([TEAM_ONLY], "team", "allow a.hcl:1", "allow a.hcl:1"),
        ([TEAM_ONLY, NO_RULES], "team", "allow a.hcl:1", "allow a.hcl:1"),
        ([TEAM_ONLY], "*", "allow a.hcl:1", "allow a.hcl:1"),
        ([TEAM_ONLY, NO_RULES, ALL], "*", "allow a.hcl:1", "allow a.hcl:1"),
        ([TEAMS_ONLY], "team-a", "allow a.hcl:1", "allow a.hcl:1"),
        ([TEAM_ONLY], "default", "none", "none"),
        ([TEAM_ONLY], "nonexistent", "none", "none"),
        ([LISTED], "nonexistent", "none", "none"),
        ([ALL, 'namespace "team" { policy = "deny" }'], "team", "deny a.hcl:2", "deny a.hcl:2"),
        # The plugin policy is above all of them.
        ([DENIED, 'plugin { policy = "read" }'], "nonexistent", "allow a.hcl:2", "allow a.hcl:2"),
        ([ALL, 'plugin { policy = "deny" }'], "nonexistent", "deny a.hcl:2", "deny a.hcl:2"),
    ],
)  # fmt: skip
def test_another_namespace_gives_no_more_than_the_default_one(
    tmp_path: Path, rules: list[str], namespace: str, listed: str, read: str
) -> None:
    rights = authorizer(tmp_path, a="\n".join(rules))
    assert by(rights.may_list("disk", namespace)) == listed
    assert by(rights.may_read("disk", namespace)) == read


def test_registering_is_granted_by_any_namespace(tmp_path: Path) -> None:
    """Grant the right through a rule for any namespace, because a report names none."""
    register = 'namespace "*" { capabilities = ["disk-register-plugin"] }'
    rights = authorizer(tmp_path, a=f"{LISTED}\n{register}")
    assert by(rights.may_register("disk", "*")) == "allow a.hcl:2"


letters = st.text("ab-", max_size=6) | st.just("default")
patterns = st.text("ab-*", min_size=1, max_size=6) | st.sampled_from(["default", "d*", "*t", "*"])


@given(patterns.map(lambda text: f"{text}*"[:6]).filter(lambda text: "*" in text), letters)
@example("ab*ba", "aba")
@example("a*b*a", "aba")
@example("**", "")
def test_a_glob_matches_as_a_regular_expression_would(pattern: str, name: str) -> None:
    regex = ".*".join(map(re.escape, pattern.split("*")))
    assert Glob(pattern).matches(name) == (re.fullmatch(regex, name) is not None)


def rule(policy: str, kind: str, label: str, level: str, capabilities: Iterable[str]) -> Rule:
    return Rule(policy, kind, label, level, frozenset(capabilities), Place(policy, 1, 1))


own = [
    f"{type_}-{action}-plugin"
    for type_ in ("disk", "net")
    for action in ("list", "read", "register")
]
rules = st.builds(
    rule,
    st.just(""),
    st.just("namespace"),
    patterns,
    st.sampled_from(["", *sorted(KINDS["namespace"].levels - {"deny"}), "deny"]),
    st.lists(st.sampled_from([*own, "deny", "read-job"]), max_size=4),
) | st.sampled_from(["plugin", "node", "agent"]).flatmap(
    lambda kind: st.builds(
        rule,
        st.just(""),
        st.just(kind),
        st.just(""),
        st.sampled_from(sorted(KINDS[kind].levels)),
        st.just(()),
    )
)
policy_sets = st.lists(st.lists(rules, max_size=5), max_size=4).map(
    lambda sets: [Policy(str(number), "", tuple(each), "") for number, each in enumerate(sets)]
)


class Naive:
    """The contract, evaluated clause by clause, with nothing computed in advance."""

    def __init__(self, given: list[Policy]) -> None:
        self.rules = [each for policy in given for each in policy.rules]

    def level(self, kind: str, *wanted: str) -> str:
        levels = [each.level for each in self.rules if each.kind == kind]
        if "deny" in levels:
            return "deny"
        return "allow" if set(levels) & set(wanted) else "none"

    def pattern(self, pattern: str, name: str) -> str:
        """Return the decision of one pattern's rules on a capability."""
        found = [e for e in self.rules if e.kind == "namespace" and e.label == pattern]
        if any(e.level == "deny" or "deny" in e.capabilities for e in found):
            return "deny"
        implied = "-list-" in name or "-read-" in name
        grants = any(
            name in e.capabilities or (implied and e.level in ("read", "write")) for e in found
        )
        return "allow" if grants else "none"

    @property
    def labels(self) -> list[str]:
        return sorted({e.label for e in self.rules if e.kind == "namespace"})

    def any_namespace(self, name: str) -> str:
        said = [self.pattern(label, name) for label in self.labels]
        return "allow" if "allow" in said else "none"

    def namespace(self, namespace: str, name: str) -> str:
        ours = self.closest("default")
        by_default = self.pattern(ours, name) if ours else "none"
        if by_default == "deny":
            return "deny"
        # Patterns that default falls under, and that say nothing of it, grant no more than it has.
        shadowed = [
            label
            for label in self.labels
            if "*" in label and label != ours and matches(label, "default") is not None
        ]
        if namespace == "*":
            said = [self.pattern(label, name) for label in self.labels if label not in shadowed]
            return "allow" if "allow" in said else "none"
        best = self.closest(namespace)
        verdict = self.pattern(best, name) if best else "none"
        return by_default if verdict == "allow" and best in shadowed else verdict

    def closest(self, namespace: str) -> str:
        labels = self.labels
        if namespace in [label for label in labels if "*" not in label]:
            return namespace
        best, fewest = "", 10**9
        for label in labels:
            stars = matches(label, namespace) if "*" in label else None
            if stars is not None and stars <= fewest:
                best, fewest = label, stars
        return best

    def look(self, action: str, type_: str, namespace: str) -> str:
        levels = {"list": ("list", "read"), "read": ("read",)}[action]
        by_plugin = self.level("plugin", *levels)
        if by_plugin != "none":
            return by_plugin
        return self.namespace(namespace, f"{type_}-{action}-plugin")

    def register(self, type_: str, namespace: str) -> str:
        if self.level("node", "write") == "allow":
            return "allow"
        name = f"{type_}-register-plugin"
        return self.any_namespace(name) if namespace == "*" else self.namespace(namespace, name)


def matches(pattern: str, namespace: str) -> int | None:
    """Return the number of characters that a pattern's stars match; None if it does not match."""
    found = re.fullmatch("(.*)".join(map(re.escape, pattern.split("*"))), namespace)
    return sum(map(len, found.groups())) if found else None


@settings(max_examples=250, deadline=None)
@given(policy_sets, st.sampled_from(["disk", "net"]), letters | st.sampled_from(["*", "a*"]))
def test_a_naive_reading_comes_to_the_same(given: list[Policy], type_: str, name: str) -> None:
    rights, naive = Authorizer(given, VOCABULARY), Naive(given)
    asked = [
        (rights.may_list(type_, name), naive.look("list", type_, name)),
        (rights.may_read(type_, name), naive.look("read", type_, name)),
        (rights.may_register(type_, name), naive.register(type_, name)),
        (rights.may_read_nodes(), naive.level("node", "read", "write")),
        (rights.may_write_nodes(), naive.level("node", "write")),
        (rights.may_read_agent(), naive.level("agent", "read", "write")),
    ]
    for decision, wanted in asked:
        assert decision.effect == wanted
        if wanted == "none":
            continue
        # The named rule makes the same decision by itself.
        assert decision.rule is not None
        assert decision.rule.denies == (wanted == "deny")


def test_decisions_are_quick_however_many_rules_there_are() -> None:
    stars = "*" + "a*" * 60
    many = [rule("p", "namespace", f"{stars}{number}", "read", ()) for number in range(4_000)]
    plain = [rule("p", "namespace", f"n{number}", "read", ()) for number in range(4_000)]
    begun = time.thread_time()
    rights = Authorizer([Policy("p", "", (*many, *plain), "")], VOCABULARY)
    assert time.thread_time() - begun < 1
    begun = time.thread_time()
    assert rights.may_list("disk", "n3999").allowed
    assert not rights.may_list("disk", "a" * 127 + "b").allowed
    assert not rights.may_list("disk", "a" * 200_000).allowed
    assert time.thread_time() - begun < 0.1
