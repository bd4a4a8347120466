"""Blocks of several files as one tree of settings, in which a block's labels are keys.

``plugin_type "x" { probe_interval = "2s" }`` is the leaf ``plugin_type.x.probe_interval``, whether
it was written in HCL or in JSON. Later files win, setting by setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from plugind.config.tree import Block, Body, Place, ValuePath
from plugind.errors import Mistake


@dataclass(frozen=True, slots=True)
class Leaf:
    """A setting's value, and where it and its parts stand."""

    value: Any
    place: Place
    parts: Mapping[ValuePath, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Branch:
    """What stands in a block, or below a label. ``open`` is as in ``tree.Block``; ``labels`` says
    that the keys are labels (unless ``open``)."""

    place: Place
    children: Mapping[str, Branch | Leaf] = field(default_factory=dict)
    labels: bool = False
    open: bool = False

    def branch(self, name: str) -> Branch:
        """The branch of that name; an empty one when there is none."""
        child = self.children.get(name)
        return child if isinstance(child, Branch) else Branch(self.place, open=True)


def plain(branch: Branch) -> dict[str, Any]:
    """The values alone, as a dict."""
    return {
        name: plain(child) if isinstance(child, Branch) else child.value
        for name, child in branch.children.items()
    }


def grafted(values: Mapping[str, Any], place: Place) -> Branch:
    """A branch of values that all stand in one place; every dict could be a block."""
    children = {
        name: grafted(value, place) if isinstance(value, Mapping) else Leaf(_plain(value), place)
        for name, value in values.items()
    }
    return Branch(place, children, open=True)


def _plain(value: Any) -> Any:
    """The value as HCL could have given it."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, PurePath) else value


def branch_of(body: Body) -> tuple[Branch, list[Mistake]]:
    """One file's tree, and what is repeated in it."""
    mistakes: list[Mistake] = []
    return _branch(body, mistakes), mistakes


def merged(under: Branch, over: Branch) -> Branch:
    """Both trees in one; what ``over`` sets wins."""
    children = dict(under.children)
    for name, child in over.children.items():
        below = children.get(name)
        if isinstance(below, Branch) and isinstance(child, Branch):
            child = merged(below, child)
        children[name] = child
    return Branch(over.place, children, over.labels, over.open)


def _branch(body: Body, mistakes: list[Mistake], *, open: bool = False) -> Branch:
    children: dict[str, Branch | Leaf] = {}
    seen: dict[tuple[str, ...], Place] = {}
    for attribute in body.attributes:
        _once((attribute.name,), attribute.place, seen, mistakes)
        children[attribute.name] = Leaf(attribute.value, attribute.place, attribute.parts)
    for block in body.blocks:
        _once((block.type, *block.labels), block.place, seen, mistakes)
        top = Branch(body.place, {block.type: _labelled(block, mistakes)})
        children = dict(merged(Branch(body.place, children), top).children)
    return Branch(body.place, children, open=open)


def _labelled(block: Block, mistakes: list[Mistake]) -> Branch:
    """The block's branch, below a branch for each of its labels."""
    branch = replace(_branch(block.body, mistakes, open=block.open), place=block.place)
    for label in reversed(block.labels):
        branch = Branch(block.place, {label: branch}, labels=True)
    return branch


def _once(
    name: tuple[str, ...], place: Place, seen: dict[tuple[str, ...], Place], out: list[Mistake]
) -> None:
    if name in seen:
        written = " ".join([name[0], *(f'"{label}"' for label in name[1:])])
        out.append(
            place.mistake(f"{written} is repeated; it stands in line {seen[name].line} already")
        )
    seen.setdefault(name, place)
