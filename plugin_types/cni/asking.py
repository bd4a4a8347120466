"""Asks an executable which versions of CNI it supports, and reads its answer.

That is the operation VERSION of the CNI specification
(https://www.cni.dev/docs/spec/#version-probe-plugin-version-support): it touches no network.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plugin_types.cni.networks import is_version
from plugin_types.cni.schemas import LIST_MAXIMUM
from plugind.errors import ProbeFailed
from plugind.toolbox.programs import Ended, Program

OUTPUT_MAXIMUM = 1 << 16
"""Bytes that an executable may print."""

WORDS_MAXIMUM = 500
"""Characters of an executable's own words that are passed on."""

# Some executables look whether all variables are there before they look at the command.
_ENVIRON = {
    "CNI_COMMAND": "VERSION",
    "CNI_CONTAINERID": "none",
    "CNI_NETNS": "none",
    "CNI_IFNAME": "none",
    "CNI_PATH": "none",
}
_INPUT = b'{"cniVersion": "1.0.0"}'

_OLDEST = ("0.1.0",)  # of CNI's versions: it had no VERSION yet


@dataclass(frozen=True)
class Answer:
    """The versions that an executable supports, or the problem with it."""

    versions: tuple[str, ...] = ()
    problem: str = ""


class Asker:
    """Asks one executable, at the wish of its own target's thread and of its networks'."""

    def __init__(self, path: str, timeout: float) -> None:
        self._program = Program([path], _ENVIRON, maximum=OUTPUT_MAXIMUM)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._last: Answer | None = None

    def ask(self) -> tuple[Answer, bool]:
        """What it says now, and whether that is another thing than before."""
        with self._lock:
            before, now = self._last, self._asked()
            return now, before is not None and before != now

    def last(self) -> Answer:
        """What it said when it was last asked; it is asked now when it never was."""
        with self._lock:
            return self._last or self._asked()

    def _asked(self) -> Answer:
        try:
            answer = read_answer(self._program.run(self._timeout, _INPUT))
        except ProbeFailed as flaw:
            answer = Answer(problem=str(flaw))
        self._last = answer
        return answer


def read_answer(ended: Ended) -> Answer:
    """What an executable that has ended answered to VERSION."""
    if ended.signal:
        return Answer(problem=f"it was ended by {ended.signal}")
    value = _object(ended.output)
    if ended.status:
        words = _words(value, ended)
        if "unknown CNI_COMMAND: VERSION" in words:
            return Answer(_OLDEST)
        return Answer(problem=f"VERSION failed: exit status {ended.status}{words and ': '}{words}")
    match value:
        case {"supportedVersions": [*versions]} if versions and all(map(is_version, versions)):
            return Answer(tuple(versions[:LIST_MAXIMUM]))
    return Answer(problem="what it answers to VERSION is not what CNI asks for")


def _object(output: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(output)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, Mapping) else None


def _words(value: Mapping[str, Any] | None, ended: Ended) -> str:
    """Its error's own text, else the first line it printed."""
    error = value or {}
    parts = [str(error[name]) for name in ("msg", "details") if error.get(name)]
    printed = (ended.errors or ended.output).decode(errors="replace").strip()
    return _line(": ".join(parts) or printed.partition("\n")[0])


def _line(text: str) -> str:
    """In one line, without what moves a terminal's cursor, and bounded."""
    visible = "".join(letter if letter.isprintable() else " " for letter in text)
    words = " ".join(visible.encode(errors="replace").decode().split())
    return words if len(words) <= WORDS_MAXIMUM else f"{words[: WORDS_MAXIMUM - 1]}…"
