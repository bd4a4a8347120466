"""The merging of the blocks of several files into one tree of settings, with labels as keys.

``plugin_type "x" { probe_interval = "2s" }`` is the leaf ``plugin_type.x.probe_interval``, whether
it was written in HCL or in JSON. Later files win, setting by setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import PurePath
from typing import Any

from plugind.config.tree import Body, Place, ValuePath
from plugind.errors import Mistake


@dataclass(frozen=True, slots=True)
class Leaf:
    """A setting's value, with its place and the places of its parts.

    ``under`` is the leaf that this one overrides. It comes from an earlier file or, if this leaf is
    a variable or a flag, from any file.
    """

    value: Any
    place: Place
    parts: Mapping[ValuePath, Place] = field(default_factory=dict)
    under: Leaf | None = None

    def over(self, below: Branch | Leaf | None) -> Leaf:
        """Return this leaf with a link to the leaf that it overrides, if there was one."""
        return replace(self, under=below) if isinstance(below, Leaf) else self


@dataclass(frozen=True, slots=True)
class Branch:
    """The content of a block, or of a label.

    ``open`` is as in ``tree.Block``; ``labels`` says that the keys are labels (unless ``open``).
    ``twins`` are further blocks of the same type and labels but with different ``role``s, for
    schemas that accept them; see ``fields.BlocksByRole``.
    """

    place: Place
    children: Mapping[str, Branch | Leaf] = field(default_factory=dict)
    labels: bool = False
    open: bool = False
    twins: tuple[Branch, ...] = ()

    @property
    def role(self) -> str | None:
        """Return the role that the block sets as text; None if it sets none."""
        child = self.children.get("role")
        return child.value if isinstance(child, Leaf) and isinstance(child.value, str) else None

    def branch(self, name: str) -> Branch:
        """Return the branch of that name; an empty one when there is none."""
        child = self.children.get(name)
        return child if isinstance(child, Branch) else Branch(self.place, open=True)


def plain(branch: Branch) -> dict[str, Any]:
    """Return the values as a dict, without their places."""
    return {
        name: plain(child) if isinstance(child, Branch) else child.value
        for name, child in branch.children.items()
    }


def grafted(values: Mapping[str, Any], place: Place) -> Branch:
    """Return a branch of values that all have the same place; every dict becomes a branch."""
    children = {
        name: grafted(value, place) if isinstance(value, Mapping) else Leaf(_plain(value), place)
        for name, value in values.items()
    }
    return Branch(place, children, open=True)


def _plain(value: Any) -> Any:
    """Return the value in types that HCL has: paths become text, and tuples become lists."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, PurePath) else value


def branch_of(body: Body) -> tuple[Branch, list[Mistake]]:
    """Return the tree of one file, and a mistake for each repeated setting."""
    mistakes: list[Mistake] = []
    return _branch(body, mistakes), mistakes


def merged(under: Branch, over: Branch) -> Branch:
    """Return the two trees merged into one, in which ``over`` overrides ``under``."""
    children = dict(under.children)
    for name, child in over.children.items():
        below = children.get(name)
        if isinstance(below, Branch) and isinstance(child, Branch):
            child = _joined(below, child)
        elif isinstance(child, Leaf):
            child = child.over(below)
        children[name] = child
    return Branch(over.place, children, over.labels, over.open)


def folded(branch: Branch) -> Branch:
    """Return the block with its twins merged into it, for a schema that takes only one."""
    return reduce(merged, branch.twins, replace(branch, twins=()))


def _joined(under: Branch, over: Branch) -> Branch:
    """Return two blocks of the same type and labels as one, or as twins if their roles differ.

    A block without a role is merged with the only other block, whatever the role of that block.
    """
    blocks = [replace(under, twins=()), *under.twins]
    for block in (replace(over, twins=()), *over.twins):
        at = _place_among(blocks, block.role)
        if at is None:
            blocks.append(block)
        else:
            blocks[at] = merged(blocks[at], block)
    return replace(blocks[0], twins=tuple(blocks[1:]))


def _place_among(blocks: Sequence[Branch], role: str | None) -> int | None:
    roles = [block.role for block in blocks]
    if role in roles:
        return roles.index(role)
    return 0 if len(blocks) == 1 and None in (role, roles[0]) else None


def _branch(body: Body, mistakes: list[Mistake], *, open: bool = False) -> Branch:
    children: dict[str, Branch | Leaf] = {}
    seen: dict[tuple[str, ...], Branch | Leaf] = {}
    for attribute in body.attributes:
        leaf = Leaf(attribute.value, attribute.place, attribute.parts)
        _once((attribute.name,), leaf, seen, mistakes)
        children[attribute.name] = leaf
    for block in body.blocks:
        branch = replace(_branch(block.body, mistakes, open=block.open), place=block.place)
        _once((block.type, *block.labels), branch, seen, mistakes)
        for label in reversed(block.labels):
            branch = Branch(block.place, {label: branch}, labels=True)
        top = Branch(body.place, {block.type: branch})
        children = dict(merged(Branch(body.place, children), top).children)
    return Branch(body.place, children, open=open)


def _once(
    name: tuple[str, ...],
    found: Branch | Leaf,
    seen: dict[tuple[str, ...], Branch | Leaf],
    out: list[Mistake],
) -> None:
    """Add a mistake if ``name`` was seen before, unless these are blocks of different roles."""
    first = seen.get(name)
    if first is None:
        seen[name] = found
    elif isinstance(first, Branch) and isinstance(found, Branch) and len(name) > 1:
        blocks = _joined(first, found)
        roles = {block.role for block in (first, *first.twins, found)}
        if None in roles or len(blocks.twins) == len(first.twins):
            out.append(_repeated(name, found.place, first.place, by_role=len(roles) > 1))
        else:
            seen[name] = blocks
    else:
        out.append(_repeated(name, found.place, first.place))


def repeated(header: str, place: Place, first: Place, *, by_role: bool = False) -> Mistake:
    """Return the mistake for a repeated block or setting; its text starts with ``header``."""
    more = "; two blocks with one label need a role each" if by_role else ""
    return place.mistake(f"{header} is repeated; it is in line {first.line} already{more}")


def _repeated(
    name: tuple[str, ...], place: Place, first: Place, *, by_role: bool = False
) -> Mistake:
    header = " ".join([name[0], *(f'"{label}"' for label in name[1:])])
    return repeated(header, place, first, by_role=by_role)
