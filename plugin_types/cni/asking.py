"""Asks an executable which versions of CNI it supports, and reads its answer.

This is the operation VERSION of the CNI specification
(https://www.cni.dev/docs/spec/#version-probe-plugin-version-support), which touches no network.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plugin_types.cni import go_json
from plugin_types.cni.networks import is_version
from plugin_types.cni.schemas import LIST_MAXIMUM
from plugind.errors import ProbeFailed
from plugind.toolbox.programs import Ended, Program

OUTPUT_MAXIMUM = 1 << 16
"""Bytes that an executable may print."""

WORDS_MAXIMUM = 500
"""Characters of an executable's own text that are passed on."""

# Some executables check that all variables are there before they look at the command.
_ENVIRON = {
    "CNI_COMMAND": "VERSION",
    "CNI_CONTAINERID": "none",
    "CNI_NETNS": "none",
    "CNI_IFNAME": "none",
    "CNI_PATH": "none",
}
_INPUT = b'{"cniVersion": "1.0.0"}'

_OLDEST = ("0.1.0",)  # the version of CNI before VERSION was introduced


@dataclass(frozen=True)
class Answer:
    """The versions that an executable supports, or the problem with it."""

    versions: tuple[str, ...] = ()
    problem: str = ""


class Asker:
    """Asks one executable, on behalf of its own target's thread and of its networks' threads."""

    def __init__(self, path: str, timeout: float) -> None:
        self._program = Program([path], _ENVIRON, maximum=OUTPUT_MAXIMUM)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._last: Answer | None = None

    def ask(self) -> tuple[Answer, bool]:
        """Ask now; return the answer, and whether it differs from the one before."""
        with self._lock:
            before, now = self._last, self._asked()
            return now, before is not None and before != now

    def last(self) -> Answer:
        """Return the last answer; ask now when there is none."""
        with self._lock:
            return self._last or self._asked()

    def _asked(self) -> Answer:
        try:
            answer = read_answer(self._program.run(self._timeout, _INPUT))
        except ProbeFailed as error:
            answer = Answer(problem=str(error))
        self._last = answer
        return answer


def read_answer(ended: Ended) -> Answer:
    """Return the answer to VERSION of an executable that has ended."""
    if ended.signal:
        return Answer(problem=f"it was ended by {ended.signal}")
    value = _object(ended.output)
    if ended.status:
        words = _words(value, ended)
        if "unknown CNI_COMMAND: VERSION" in words:
            return Answer(_OLDEST)
        return Answer(problem=f"VERSION failed: exit status {ended.status}{words and ': '}{words}")
    match go_json.field(value, "supportedVersions"):
        case [*versions] if versions and all(map(is_version, versions)):
            return Answer(tuple(versions[:LIST_MAXIMUM]))
    return Answer(problem="its answer to VERSION is not one that CNI allows")


def _object(output: bytes) -> Mapping[str, Any]:
    try:
        value = go_json.read(output)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _words(error: Mapping[str, Any], ended: Ended) -> str:
    """Return the text of the error in the answer, or else the first line that was printed: in one
    line, of bounded length, without control characters."""
    texts = (go_json.field(error, name) for name in ("msg", "details"))
    parts = [str(text) for text in texts if text]
    printed = (ended.errors or ended.output).decode(errors="replace").strip()
    text = ": ".join(parts) or printed.partition("\n")[0]
    visible = "".join(letter if letter.isprintable() else " " for letter in text)
    words = " ".join(visible.encode(errors="replace").decode().split())
    return words if len(words) <= WORDS_MAXIMUM else f"{words[: WORDS_MAXIMUM - 1]}…"
