"""What a store holds as JSON lines, that every store can write and read.

Each line is an object with one key, which says what its value is. The first has the format and the
numbers of what follows, the last a digest of all lines before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from plugind.errors import StoreError
from plugind.model import (
    Beat,
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
from plugind.store.soundness import faults

FORMAT = 1

_PROGRESS_LINES = 1_000


class _Head(msgspec.Struct):
    format: int
    identity: str
    index: int
    lines: int


class _Stamped(msgspec.Struct):
    resource: str
    stamp: Stamp


class _Heard(msgspec.Struct):
    node_id: str
    beat: Beat


_HEAD, _END = "plugind", "end"
_KINDS: dict[str, Any] = {
    _HEAD: _Head,
    "node": Node,
    "instance": Instance,
    "declaration": Declaration,
    "forgotten": Forgotten,
    "kept_secret": KeptSecret,
    "stamp": _Stamped,
    "beat": _Heard,
    "run": Run,
    "transition": StoredTransition,
    _END: str,
}
_encode = msgspec.json.Encoder().encode
_line = msgspec.json.Decoder(dict[str, msgspec.Raw])
_decoders = {kind: msgspec.json.Decoder(type_) for kind, type_ in _KINDS.items()}


def write(
    target: Path,
    identity: str,
    contents: Contents,
    transitions: Iterable[StoredTransition],
    transition_count: int,
    progress: Progress,
) -> None:
    """Write contents and history (oldest first, ``transition_count`` of them) to a new file."""
    groups: dict[str, list[Any]] = {
        "node": list(contents.nodes),
        "instance": list(contents.instances),
        "declaration": list(contents.declarations),
        "forgotten": list(contents.forgotten),
        "kept_secret": list(contents.kept_secrets),
        "stamp": [_Stamped(*each) for each in sorted(contents.stamps.items())],
        "beat": [_Heard(*each) for each in sorted(contents.beats.items())],
        "run": list(contents.runs),
    }
    total = sum(map(len, groups.values())) + transition_count
    values = chain(
        [(_HEAD, _Head(FORMAT, identity, contents.index, total))],
        ((kind, value) for kind, group in groups.items() for value in group),
        (("transition", each) for each in transitions),
    )
    digest = hashlib.blake2b()
    with target.open("xb") as file:
        for done, (kind, value) in enumerate(values):
            line = _encode({kind: value}) + b"\n"
            digest.update(line)
            file.write(line)
            if done % _PROGRESS_LINES == 0:
                progress(done, total)
        file.write(_encode({_END: digest.hexdigest()}) + b"\n")
    progress(total, total)


def read(source: Path, take: Callable[[StoredTransition], object], progress: Progress) -> Contents:
    """Return the contents of an export, and call ``take`` with each of its transitions, oldest
    first. Raise StoreError, which names file and line, for a file that is not a whole export."""
    found = _Found(source, take)
    for number, line, kind, value in _lines(source):
        found.add(number, line, kind, value)
        if number % _PROGRESS_LINES == 0:
            progress(number, found.head.lines)
    contents = found.contents()
    if fault := next(faults(contents), ""):
        raise StoreError(f"{source}: {fault}")
    progress(found.head.lines, found.head.lines)
    return contents


class _Found:
    """What was read of an export so far."""

    def __init__(self, source: Path, take: Callable[[StoredTransition], object]) -> None:
        self._source = source
        self._take = take
        self._digest = hashlib.blake2b()
        self._number = 0
        self._seq = 0
        self._groups: dict[str, list[Any]] = {kind: [] for kind in _KINDS}

    @property
    def head(self) -> _Head:
        head: _Head = self._groups[_HEAD][0]
        return head

    def add(self, number: int, line: bytes, kind: str, value: Any) -> None:
        """Take a line. Raise StoreError for one that may not follow those before it."""
        self._number = number
        if self._groups[_END]:
            raise _wrong(self._source, number, "nothing may follow the end")
        if (kind == _HEAD) is not (number == 1):
            raise _wrong(self._source, number, f'"{_HEAD}" must be the first line, and only that')
        if kind != _END:
            self._digest.update(line)
        if kind != "transition":
            self._groups[kind].append(value)
            return
        if value.seq <= self._seq:
            raise _wrong(self._source, number, "seq must be greater than that of the line before")
        self._seq = value.seq
        self._take(value)

    def contents(self) -> Contents:
        """Return the contents once all lines were taken. Raise StoreError unless they are those
        that were written."""
        groups = self._groups
        if not groups[_END]:
            raise _wrong(self._source, self._number, "it ends too early: export it again")
        if groups[_END] != [self._digest.hexdigest()] or self._number != self.head.lines + 2:
            text = "its lines are not those that were exported: export it again"
            raise _wrong(self._source, self._number, text)
        return Contents(
            self.head.index,
            groups["node"],
            groups["instance"],
            groups["declaration"],
            {each.resource: each.stamp for each in groups["stamp"]},
            groups["forgotten"],
            {each.node_id: each.beat for each in groups["beat"]},
            groups["kept_secret"],
            groups["run"],
        )


def _lines(source: Path) -> Iterator[tuple[int, bytes, str, Any]]:
    """Yield number, line, kind and value of each line."""
    try:
        with source.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    ((kind, raw),) = _line.decode(line).items()
                    value = _decoders[kind].decode(raw)
                except KeyError as error:
                    raise _wrong(source, number, f"{error.args[0]!r} is not known") from error
                except ValueError as error:
                    text = " ".join(str(error).split())
                    raise _wrong(source, number, f"is not of an export: {text}") from error
                if kind == _HEAD and value.format != FORMAT:
                    raise _wrong(source, number, f"format {value.format} is not known")
                yield number, line, kind, value
    except OSError as error:
        raise StoreError(f"{source}: {error.strerror}") from error


def _wrong(source: Path, number: int, text: str) -> StoreError:
    return StoreError(f"{source}, line {number}: {text}")
