"""Policies from files: the rules of each file, with every word validated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from plugind.acl.blocks import BLOCK_MAXIMUM, Diagnostics, header, parted, shown
from plugind.acl.vocabulary import (
    DENY,
    KINDS,
    LIST,
    NAMESPACE,
    VARIABLE_CAPABILITIES,
    WRITE,
    Kind,
    Vocabulary,
    capability,
)
from plugind.config.reading import read_file
from plugind.config.tree import Attribute, Block, Body, Place
from plugind.errors import ConfigError
from plugind.hints import suggestion

NAME = re.compile(r"[a-zA-Z0-9._-]{1,128}")
DESCRIPTION_MAXIMUM = 256
FILE_MAXIMUM = 32 * 1024
"""Bytes of a policy: enough for thousands of rules."""

_NAME_IN_NOMAD = re.compile(r"[a-zA-Z0-9-]+")
_COMMENT = re.compile(r"\s*(?:/\*(?P<long>.*?)\*/|(?P<lines>(?:[ \t]*(?:#|//)[^\n]*\n?)+))", re.S)
_MARK = re.compile(r"^[ \t]*(?:#+|//+|\*+)[ \t]?", re.MULTILINE)

_LABELLED = {name: kind.label is not None for name, kind in KINDS.items()}

_IN_VAIN = {
    ("plugin", WRITE): 'write policy = "read"',
    (NAMESPACE, LIST): f'write capabilities = ["{capability("TYPE", LIST)}"]',
}
"""Levels that look as if they grant something but, as in Nomad, do not; with the remedy."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One block of a policy.

    ``label`` is a pattern in which ``*`` stands for any characters; it is "" for a block without a
    label. ``capabilities`` are those that the block lists, without those that ``level`` adds.
    """

    policy: str
    kind: str
    label: str
    level: str
    capabilities: frozenset[str]
    place: Place

    @property
    def denies(self) -> bool:
        return self.level == DENY or DENY in self.capabilities

    def __str__(self) -> str:
        return f'{self.kind} "{self.label}"' if self.label else self.kind


@dataclass(frozen=True, slots=True)
class Policy:
    """A file of rules; ``text`` is its content."""

    name: str
    description: str
    rules: tuple[Rule, ...]
    text: str


def read_policies(
    files: Sequence[Path], vocabulary: Vocabulary, diagnostics: Diagnostics
) -> list[Policy]:
    """Return the policies of the files that can be read; add mistakes to ``diagnostics``.

    Raise ConfigError when there are too many mistakes.
    """
    policies: list[Policy] = []
    named: dict[str, Path] = {}
    for file in files:
        name, place = file.stem, Place(str(file))
        if not NAME.fullmatch(name):
            text = (
                "is not a policy's name: use 1 to 128 letters, digits or dashes, and .hcl or .json"
            )
            diagnostics.add(place, f'"{shown(file.name)}" {text}')
        elif not _NAME_IN_NOMAD.fullmatch(name):
            diagnostics.warn(place, _odd_name(name, file.suffix))
        if name in named:
            diagnostics.add(
                place, f'policy "{name}" is in {named[name]} already; remove one of them'
            )
        named.setdefault(name, file)
        try:
            text, body = read_file(file, FILE_MAXIMUM, BLOCK_MAXIMUM, literal=True)
        except ConfigError as error:
            diagnostics.mistakes += error.mistakes
            continue
        rules = tuple(_Reader(name, vocabulary, diagnostics).rules(body))
        policies.append(Policy(name, description(text), rules, text))
    return policies


def _odd_name(name: str, suffix: str) -> str:
    """Return the warning for a policy's name that Nomad does not allow.

    Such a file is often meant to be the policy whose name it begins with: ``anonymous.policy.hcl``.
    """
    meant = name.partition(".")[0].replace("_", "-")
    text = f'is the policy "{name}", a name with other characters than letters, digits and dashes'
    return f'{text}; if the policy "{meant}" is meant, rename the file to {meant}{suffix}'


def description(text: str) -> str:
    """Return the comment at the beginning of a file as one line; "" when there is none."""
    match = _COMMENT.match(text.removeprefix("\ufeff"))
    if match is None:
        return ""
    words = _MARK.sub("", match["long"] or match["lines"] or "").split()
    return "".join(filter(str.isprintable, " ".join(words)))[:DESCRIPTION_MAXIMUM]


class _Reader:
    """A reader of the rules of one policy."""

    def __init__(self, policy: str, vocabulary: Vocabulary, diagnostics: Diagnostics) -> None:
        self._policy = policy
        self._vocabulary = vocabulary
        self._diagnostics = diagnostics

    def rules(self, body: Body) -> Iterator[Rule]:
        attributes, blocks = parted(body, _LABELLED)
        for attribute in attributes:
            self._no_block(attribute)
        if not attributes and not blocks:
            self._diagnostics.warn(body.place, "this policy has no rule: it grants nothing")
        first: dict[str, Place] = {}
        for block in blocks:
            kind = KINDS.get(block.type)
            if kind is None:
                self._diagnostics.unknown(block.place, "block", block.type, KINDS)
                continue
            if kind.label is None and block.type in first:  # Nomad also takes only one.
                line = first[block.type].line
                text = f"{block.type} is repeated; it is in line {line} already"
                self._diagnostics.add(block.place, text)
            first.setdefault(block.type, block.place)
            problem = _label_problem(block, kind)
            if problem:
                self._diagnostics.add(block.place, problem)
            rule = self._rule(block, kind)
            if not problem:
                yield rule

    def _no_block(self, attribute: Attribute) -> None:
        name = attribute.name
        if name not in KINDS:
            self._diagnostics.unknown(attribute.place, "block", name, KINDS)
            return
        label = ' "NAME"' if _LABELLED[name] else ""
        self._diagnostics.add(attribute.place, f"{name} is a block: write {name}{label} {{ ... }}")

    def _rule(self, block: Block, kind: Kind) -> Rule:
        attributes, blocks = parted(block.body, {"variables": False})
        known = ["policy", "capabilities"] if kind.capabilities else ["policy"]
        found = self._diagnostics.attributes(attributes, header(block), known)
        for inner in blocks:
            if block.type == NAMESPACE and inner.type == "variables":
                self._variables(inner)
            else:
                names = ["variables"] if block.type == NAMESPACE else known
                self._diagnostics.unknown(inner.place, "block", inner.type, names, header(block))
        level = self._level(block, kind, found.get("policy"))
        capabilities = self._capabilities(block, kind, found.get("capabilities"))
        label = block.labels[0] if block.labels else ""
        return Rule(self._policy, block.type, label, level, capabilities, block.place)

    def _level(self, block: Block, kind: Kind, attribute: Attribute | None) -> str:
        """Return the block's level; "" when it is missing or invalid."""
        if attribute is None:
            if kind.required:
                text = f'{block.type} has no level: write policy = "read"'
                self._diagnostics.add(block.place, text)
            return ""
        value = attribute.value
        if not isinstance(value, str):
            self._diagnostics.add(attribute.place, 'policy must be text in quotes, such as "read"')
            return ""
        if value not in kind.levels:
            self._diagnostics.unknown(attribute.place, "policy level", value, kind.levels)
            return ""
        if better := _IN_VAIN.get((block.type, value)):
            text = f'policy = "{value}" grants nothing in a {block.type} block; {better}'
            self._diagnostics.warn(attribute.place, text)
        return value

    def _capabilities(
        self, block: Block, kind: Kind, attribute: Attribute | None
    ) -> frozenset[str]:
        in_namespace = block.type == NAMESPACE
        known = self._vocabulary.capabilities if in_namespace else kind.capabilities
        written = self._diagnostics.texts(attribute)
        for name, place in written:
            if not (in_namespace and self._is_of_absent_type(name, place)):
                self._capability(name, place, known)
        return frozenset(name for name, _ in written)

    def _capability(self, name: str, place: Place, known: frozenset[str]) -> None:
        if name not in known:
            self._diagnostics.unknown(place, "capability", name, known)

    def _is_of_absent_type(self, name: str, place: Place) -> bool:
        """Return whether a capability's plugin type is not installed; if so, add a warning."""
        absent = self._vocabulary.absent_type(name)
        if absent:
            hint = suggestion(absent, self._vocabulary.types)
            text = f'"{shown(name)}" grants nothing: no plugin type "{absent}" is installed; {hint}'
            self._diagnostics.warn(place, text)
        return bool(absent)

    def _variables(self, block: Block) -> None:
        """Validate a block of variables, as Nomad does; plugind itself has no variables."""
        attributes, blocks = parted(block.body, {"path": True})
        self._diagnostics.attributes(attributes, "variables", ["path"])
        if not blocks:
            self._diagnostics.add(block.place, 'variables needs a path: write path "PATH" { ... }')
        for path in blocks:
            if path.type != "path":
                self._diagnostics.unknown(path.place, "block", path.type, ["path"], "variables")
            elif len(path.labels) != 1 or not path.labels[0] or path.labels[0][0] == "/":
                text = 'path needs one label, not beginning with /: write path "a/b" { ... }'
                self._diagnostics.add(path.place, text)
            else:
                self._path(path)

    def _path(self, block: Block) -> None:
        attributes, inner = parted(block.body, {})
        found = self._diagnostics.attributes(attributes, "path", ["capabilities"])
        for each in inner:
            self._diagnostics.unknown(each.place, "block", each.type, ["capabilities"], "path")
        for name, place in self._diagnostics.texts(found.get("capabilities")):
            self._capability(name, place, VARIABLE_CAPABILITIES)


def _label_problem(block: Block, kind: Kind) -> str:
    """Return the mistake in a block's labels; "" when there is none."""
    type_ = block.type
    if kind.label is None:
        return f"{type_} takes no label: write {type_} {{ ... }}" if block.labels else ""
    if len(block.labels) != 1:
        return f'{type_} needs one label: write {type_} "NAME" {{ ... }}'
    if kind.label.fullmatch(block.labels[0]):
        return ""
    also = ", underscores" if kind.label.fullmatch("_") else ""
    return f"{header(block)} has a bad label: use 1 to 128 letters, digits, dashes{also} or *"
