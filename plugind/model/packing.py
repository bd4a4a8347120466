"""Packs the values of an instance into little memory.

A fleet has the same plugin on very many nodes. Most values of its instances are the same, such as
names, versions and capabilities; these are kept once, in a shape that the instances share. The
rest, such as IDs and times, takes a few bytes for each instance.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import msgspec

TRIED = 8
"""Ways to cut the texts of one plugin that are tried; newer ones replace older ones."""

SHARED_LEAST = 0.7
"""The share of a text that two texts must have in common for that part to be kept once for both."""

LONGEST = 16_384
"""Characters of the longest text that is cut."""

REMEMBERED = 16 * 2**20
"""Approximate bytes of the cuts and shapes that are remembered for instances packed later. Beyond
that all are dropped and learned again, which only costs memory: packed instances stay as they
are."""

Process = tuple[str, str, bool]
"""The values that processes of one job have in common: the job, the group, and whether they run."""


class Shape(NamedTuple):
    """The part that instances have in common. Their details, as JSON, begin with ``head`` and end
    with ``tail``."""

    healthy: bool
    description: str
    head: str
    tail: str
    process: Process | None
    missing_since: int | None


class Rest(msgspec.Struct, array_like=True, gc=False):
    """The part that an instance has of its own; ``details`` is the text between head and tail, and
    ``digest`` as ``short`` has it."""

    updated: int
    alloc_id: str
    digest: Any
    details: str
    name: str = ""
    created: int = 0


_encode = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder(Rest).decode


def pack(values: Sequence[Any]) -> bytes:
    """Return the values of a ``Rest`` in as many bytes as they need."""
    return bytes(memoryview(_encode(values)))  # msgspec's own result is in a larger block


def short(digest: str) -> str | bytes:
    """Return a digest in half as many bytes, if it consists of hexadecimal digits."""
    try:
        found = bytes.fromhex(digest)
    except ValueError:
        return digest
    return found if found.hex() == digest else digest


def long(digest: str | bytes) -> str:
    """Return the digest that ``short`` made shorter."""
    return digest if isinstance(digest, str) else digest.hex()


Cut = tuple[str, str, int]
"""A head, a tail, and the minimum length of a text that has both."""

_WHOLE: Cut = ("", "", 0)
_ENTRY = 500  # bytes that an entry takes in addition to its texts


class _Cuts:
    """The ways to cut the texts of one plugin, and the last text that fitted none of them."""

    __slots__ = ("known", "unfitted")

    def __init__(self) -> None:
        self.known: tuple[Cut, ...] = ()
        self.unfitted = ""

    def learned(self, text: str) -> Cut:
        """Return a new cut for a text that fits none of the known ones; _WHOLE if the text has too
        little in common with the last such text."""
        before, self.unfitted = self.unfitted, text
        head, tail = _common(before, text)
        least = len(head) + len(tail)
        if not head or least < SHARED_LEAST * len(text):
            return _WHOLE
        cut = head, tail, least
        self.known = (cut, *self.known)[:TRIED]
        return cut


class _Known:
    """The cuts that were learned, by plugin, and the shapes. If several threads use it at a time,
    one may learn what another has just learned; that does no harm."""

    def __init__(self) -> None:
        self.cuts: dict[Hashable, _Cuts] = {}
        self.shapes: dict[tuple[Any, ...], Shape] = {}
        self._size = 0

    def cut(self, plugin: Hashable, text: str) -> Cut:
        """Return how to cut a text that fits none of the known cuts of its plugin."""
        if len(text) > LONGEST:
            return _WHOLE
        self._grow(2 * len(text))
        return self.cuts.setdefault(plugin, _Cuts()).learned(text)

    def add(self, shape: tuple[Any, ...]) -> Shape:
        """Return a new shape."""
        made = Shape(*shape)
        self._grow(len(made.description))
        return self.shapes.setdefault(shape, made)

    def _grow(self, size: int) -> None:
        self._size += size + _ENTRY
        if self._size > REMEMBERED:
            self.cuts.clear()
            self.shapes.clear()
            self._size = 0


_known = _Known()
_NO_CUTS = _Cuts()


def shape_of(
    plugin: Hashable,
    healthy: bool,
    description: str,
    details: str,
    process: Process | None,
    missing_since: int | None,
) -> Shape:
    """Return the shape of an instance of ``plugin``: one object for all instances that share it."""
    for head, tail, least in _known.cuts.get(plugin, _NO_CUTS).known:
        if details.startswith(head) and details.endswith(tail) and len(details) >= least:
            break
    else:
        head, tail, _ = _known.cut(plugin, details)
    shape = healthy, description, head, tail, process, missing_since
    return _known.shapes.get(shape) or _known.add(shape)


def _common(one: str, other: str) -> tuple[str, str]:
    """Return the longest common beginning of two texts, and the longest common end of the rest."""
    head = _length(lambda length: one.startswith(other[:length]), min(len(one), len(other)))
    left = min(len(one), len(other)) - head
    tail = _length(lambda length: one.endswith(other[len(other) - length :]), left)
    return other[:head], other[len(other) - tail :]


def _length(fits: Callable[[int], bool], most: int) -> int:
    """Return the greatest length up to ``most`` that fits, given that all smaller ones fit too."""
    least = 0
    while least < most:
        middle = (least + most + 1) // 2
        if fits(middle):
            least = middle
        else:
            most = middle - 1
    return least
