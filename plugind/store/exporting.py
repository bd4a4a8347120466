"""The contents of a store as JSON lines, which every store can write and read one by one.

Each line is an object with one key, which says what kind of value it has. The first line has the
format and the number of values of each kind, the last line a digest of all lines before it. Between
them, values are grouped by kind, in the order of KINDS.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import msgspec

from plugind.errors import StoreError
from plugind.model import (
    Declaration,
    Forgotten,
    Instance,
    KeptSecret,
    Node,
    Run,
    Stamp,
    StoredTransition,
)
from plugind.store.base import Contents, Progress
from plugind.store.coding import from_json, to_json
from plugind.store.files import faults_of, new_file

FORMAT = 1

LINE_BYTES = 64 * 2**20
"""Bytes of the longest line that is read, far beyond what an agent may report of an instance."""

_PROGRESS_LINES = 1_000


class Stamped(msgspec.Struct, frozen=True):
    """The stamp of a resource."""

    resource: str
    stamp: Stamp


class LastBeat(msgspec.Struct, frozen=True):
    """When a node was last heard, and its time to live. The run of the agent is left out: it means
    nothing once the server has restarted."""

    node_id: str
    beat: tuple[int, int]


Item: TypeAlias = (
    Node
    | Instance
    | Declaration
    | Forgotten
    | KeptSecret
    | Stamped
    | LastBeat
    | Run
    | StoredTransition
)
"""One of the values that a line holds."""

KINDS: Mapping[str, type[Any]] = {
    "node": Node,
    "instance": Instance,
    "declaration": Declaration,
    "forgotten": Forgotten,
    "kept_secret": KeptSecret,
    "stamp": Stamped,
    "beat": LastBeat,
    "run": Run,
    "transition": StoredTransition,
}
"""The kinds of values, in their order."""


class Head(msgspec.Struct, frozen=True):
    """The first line: which store was exported, at which index, and how many lines of each kind
    follow. The first versions wrote only the total number of lines."""

    format: int
    identity: str
    index: int
    lines: int
    counts: dict[str, int] | None = None


_HEAD, _END = "plugind", "end"
_NAMES = {type_: name for name, type_ in KINDS.items()}
_RANKS = {name: rank for rank, name in enumerate((_HEAD, *KINDS, _END))}
_encode = msgspec.json.Encoder(enc_hook=to_json).encode
_line = msgspec.json.Decoder(dict[str, msgspec.Raw])
_decoders = {
    kind: msgspec.json.Decoder(type_, dec_hook=from_json)
    for kind, type_ in {_HEAD: Head, **KINDS, _END: str}.items()
}


def write(
    target: Path,
    identity: str,
    index: int,
    counts: Mapping[str, int],
    items: Iterable[Item],
    progress: Progress,
) -> None:
    """Write values, in the order of KINDS, to a file that must not exist yet. ``counts`` has the
    number of values of each kind. The values are taken one by one, and none is kept in memory."""
    numbers = {name: counts.get(name, 0) for name in KINDS}
    total = sum(numbers.values())
    with new_file(target) as new, new.open("xb") as file:
        digest = hashlib.blake2b()
        for done, line in enumerate(
            _lines_of(Head(FORMAT, identity, index, total, numbers), items)
        ):
            digest.update(line)
            file.write(line)
            if done % _PROGRESS_LINES == 0:
                progress(done, total)
        file.write(_encode({_END: digest.hexdigest()}) + b"\n")
    progress(total, total)


def _lines_of(head: Head, items: Iterable[Item]) -> Iterator[bytes]:
    yield _encode({_HEAD: head}) + b"\n"
    numbers = dict.fromkeys(KINDS, 0)
    last = _HEAD
    for item in items:
        name = _NAMES[type(item)]
        assert _RANKS[last] <= _RANKS[name], f"{name} after {last}"
        last = name
        numbers[name] += 1
        yield _encode({name: item}) + b"\n"
    assert numbers == head.counts, f"counted {head.counts}, written {numbers}"


def items_of(contents: Contents, transitions: Iterable[StoredTransition]) -> Iterator[Item]:
    """Yield contents and a history (oldest first) in the order in which ``write`` takes them."""
    yield from sorted(contents.nodes, key=attrgetter("id"))
    yield from sorted(contents.instances, key=attrgetter("key"))
    yield from sorted(contents.declarations, key=attrgetter("key"))
    yield from sorted(contents.forgotten, key=attrgetter("key"))
    yield from sorted(contents.kept_secrets, key=attrgetter("node_id"))
    yield from (Stamped(*each) for each in sorted(contents.stamps.items()))
    yield from (LastBeat(node_id, beat[:2]) for node_id, beat in sorted(contents.beats.items()))
    yield from sorted(contents.runs, key=attrgetter("start", "id"))
    yield from transitions


def counts_of(contents: Contents, transitions: int) -> dict[str, int]:
    """Return how many values of each kind ``items_of`` yields."""
    groups = (
        contents.nodes,
        contents.instances,
        contents.declarations,
        contents.forgotten,
        contents.kept_secrets,
        contents.stamps,
        contents.beats,
        contents.runs,
    )
    return dict(zip(KINDS, (*map(len, groups), transitions), strict=True))


@contextmanager
def reading(source: Path) -> Iterator[Export]:
    """Open an export. Raise StoreError, which names file and line, if the file is not one."""
    with faults_of(source), source.open("rb") as file:
        yield Export(source, file)


class Export:
    """An export that is read line by line. Only its end shows whether it is complete, so it must
    not replace anything before that."""

    def __init__(self, source: Path, file: BinaryIO) -> None:
        self._source = source
        self._lines = _lines(source, file)
        self._digest = hashlib.blake2b()
        first = next(self._lines, None)
        if first is None:
            raise _wrong(source, 0, "it is empty")
        number, line, kind, head = first
        if kind != _HEAD:
            raise _wrong(source, number, f'"{_HEAD}" must be the first line')
        if head.format != FORMAT:
            raise _wrong(source, number, f"format {head.format} is not known")
        self._digest.update(line)
        self.head: Head = head

    def items(self, progress: Progress) -> Iterator[Item]:
        """Yield the values. Raise StoreError for a line that may not follow those before it, and at
        the end if the lines are not those that were written."""
        last, seq, number = _HEAD, 0, 1
        numbers = dict.fromkeys(KINDS, 0)
        for number, line, kind, value in self._lines:
            if _RANKS[kind] < _RANKS[last] or kind == _HEAD:
                raise _wrong(self._source, number, f'"{kind}" may not follow "{last}"')
            if kind == _END:
                self._check_end(number, value, numbers)
                progress(self.head.lines, self.head.lines)
                return
            if kind == "transition":
                if value.seq <= seq:
                    text = "seq must be greater than that of the line before"
                    raise _wrong(self._source, number, text)
                seq = value.seq
            last = kind
            numbers[kind] += 1
            self._digest.update(line)
            if number % _PROGRESS_LINES == 0:
                progress(number, self.head.lines)
            yield value
        raise _wrong(self._source, number, "it ends too early: export it again")

    def _check_end(self, number: int, digest: str, numbers: Mapping[str, int]) -> None:
        if next(self._lines, None) is not None:
            raise _wrong(self._source, number + 1, "nothing may follow the end")
        is_counted = self.head.counts in (None, numbers) and self.head.lines == number - 2
        if digest != self._digest.hexdigest() or not is_counted:
            text = "its lines are not those that were exported: export it again"
            raise _wrong(self._source, number, text)


def _lines(source: Path, file: BinaryIO) -> Iterator[tuple[int, bytes, str, Any]]:
    """Yield the number, text, kind and value of each line. Raise StoreError for an invalid one."""
    number = 0
    while line := file.readline(LINE_BYTES):
        number += 1
        if len(line) == LINE_BYTES:
            raise _wrong(source, number, "it is longer than any line of an export")
        try:
            ((kind, raw),) = _line.decode(line).items()
            value = _decoders[kind].decode(raw)
        except KeyError as error:
            raise _wrong(source, number, f"{error.args[0]!r} is not known") from error
        except ValueError as error:
            text = " ".join(str(error).split())
            raise _wrong(source, number, f"is not of an export: {text}") from error
        yield number, line, kind, value


def _wrong(source: Path, number: int, text: str) -> StoreError:
    return StoreError(f"{source}, line {number}: {text}")
