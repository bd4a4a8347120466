"""Reads the output of a check as fingerprints: in the format of Nagios, or as lines of JSON.

The format of Nagios is described in the guidelines of the Monitoring Plugins project
(https://www.monitoring-plugins.org/doc/guidelines.html).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from marshmallow import INCLUDE, Schema, ValidationError, validate

from plugin_types.exec.schemas import (
    CHECK,
    CRITICAL,
    DETAIL_MAXIMUM,
    DETAILS_MAXIMUM,
    OK,
    PERF_DATA_MAXIMUM,
    STATUSES,
    UNKNOWN,
    WARNING,
)
from plugind.errors import ProbeFailed
from plugind.fields import Flag, Identifier, Text
from plugind.toolbox.programs import Ended

Results = dict[tuple[str, str], dict[str, Any]]

WORDS_MAXIMUM = 4_000
"""Characters of a check's own text that are passed on."""

_BY_EXIT = dict(enumerate(STATUSES))

_KEY_MAXIMUM = 64
_PERF_DATA = re.compile(r"\s*(?:'(?:[^']|'')+'|[^\s='|]+)=\S")
"""The beginning of performance data: a label, in single quotes if it has blanks, and a value."""


def read_nagios(id: str, ended: Ended) -> Results:
    """Return the one fingerprint of a check that prints in the format of Nagios."""
    if ended.signal:
        return failed(id, f"it was ended by {ended.signal}")
    words, perf = _parted(_lines(ended.output))
    status = _BY_EXIT.get(ended.status, UNKNOWN)
    return {
        (id, CHECK): {
            "Healthy": status in (OK, WARNING),
            "HealthDescription": _described(status, ended, words),
            "Status": status,
            "PerfData": perf,
            "Details": {},
        }
    }


def _parted(lines: Iterable[str]) -> tuple[str, str]:
    """Return the description in a check's output and all of its performance data.

    The description is the text before the bar (``|``) in the first line that has such text. What
    follows the bar is performance data, in any line. After the first bar in a later line than the
    first, whole lines may be performance data, as in the plugin API of Nagios 3; other text between
    such lines is not.
    """
    words, perf, may_fill_lines = "", [], False
    for number, line in enumerate(filter(str.strip, lines)):
        text, bar, data = line.partition("|")
        if may_fill_lines and _PERF_DATA.match(text):
            perf.append(text)
        else:
            words = words or _line(text)
        perf.append(data)
        may_fill_lines |= bool(bar and number)
    return words, _line(" ".join(perf), PERF_DATA_MAXIMUM)


def failed(id: str, reason: str) -> Results:
    """Return the fingerprint of a check that gave no result."""
    return {(id, CHECK): {"Healthy": False, "HealthDescription": reason, "Status": UNKNOWN}}


def read_json(ended: Ended) -> Results:
    """Return the fingerprints in an output of JSON lines, one per line.

    Raise ProbeFailed for any mistake, because instances that are left out would count as gone.
    """
    if ended.signal or ended.status:
        how = f"it was ended by {ended.signal}" if ended.signal else _exit(ended)
        raise ProbeFailed(how)
    results: Results = {}
    for number, line in enumerate(ended.output.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            key, fingerprint = _read_line(line)
        except ProbeFailed as error:
            raise ProbeFailed(f"line {number} of its output {error}") from error
        if key in results:
            raise ProbeFailed(f"line {number} of its output repeats {key[0]}")
        results[key] = fingerprint
    return results


class LineSchema(Schema):
    """A line of JSON; further fields go into Details."""

    class Meta:
        unknown = INCLUDE

    ID = Identifier(required=True)
    Role = Text(load_default=CHECK)
    Healthy = Flag(required=True)
    HealthDescription = Text(load_default="", maximum=WORDS_MAXIMUM)
    Status = Text(
        load_default="", validate=validate.OneOf(STATUSES, error="must be one of {choices}.")
    )
    PerfData = Text(load_default="", maximum=PERF_DATA_MAXIMUM)


def _read_line(line: bytes) -> tuple[tuple[str, str], dict[str, Any]]:
    try:
        value = json.loads(line, parse_constant=_refuse, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise ProbeFailed(f"is not JSON: {error}") from error
    if not isinstance(value, Mapping):
        raise ProbeFailed("is not a JSON object")
    try:
        loaded = LineSchema().load(value)
    except ValidationError as error:
        mistakes = "; ".join(
            f"{name}: {' '.join(map(str, texts))}"
            for name, texts in sorted(error.messages_dict.items())
        )
        raise ProbeFailed(f"has mistakes: {mistakes}") from error
    healthy = loaded["Healthy"]
    known = {name: loaded.pop(name) for name in LineSchema().fields}
    return (known["ID"], known["Role"]), {
        "Healthy": healthy,
        "HealthDescription": _line(known["HealthDescription"]),
        "Status": known["Status"] or (OK if healthy else CRITICAL),
        "PerfData": known["PerfData"],
        "Details": _details(loaded),
    }


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, given its members. Raise ProbeFailed when two have the same key,
    because it is unclear which of them counts."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ProbeFailed(f'repeats the key "{_line(key, _KEY_MAXIMUM)}"')
        found[key] = value
    return found


def _details(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values as text: text unchanged, everything else as JSON."""
    if len(values) > DETAILS_MAXIMUM:
        raise ProbeFailed(f"has more than {DETAILS_MAXIMUM} fields of its own")
    return {
        _line(name, DETAIL_MAXIMUM): _line(
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False),
            DETAIL_MAXIMUM,
        )
        for name, value in values.items()
    }


def _described(status: str, ended: Ended, words: str) -> str:
    if ended.status not in _BY_EXIT:
        return _exit(ended)
    words = words or _first_error(ended) or f"{status} (it printed nothing)"
    if status == WARNING and WARNING not in words.upper():
        return f"{WARNING}: {words}"
    return words


def _exit(ended: Ended) -> str:
    words = _first_error(ended) or _first(ended.output)
    return f"exit status {ended.status}{': ' if words else ''}{words}"


def _first_error(ended: Ended) -> str:
    return _first(ended.errors)


def _first(printed: bytes) -> str:
    """Return the first line that is not empty."""
    return next(filter(None, map(_line, _lines(printed))), "")


def _lines(printed: bytes) -> list[str]:
    """Return the lines of an output. Only LF and CRLF end a line: str.splitlines would also split
    at form feeds, vertical tabs and Unicode separators, which may be part of a check's text."""
    return [line.removesuffix("\r") for line in printed.decode(errors="replace").split("\n")]


def _line(text: str, maximum: int = WORDS_MAXIMUM) -> str:
    """Return text in one line of valid Unicode, of bounded length, without control characters."""
    visible = "".join(letter if letter.isprintable() else " " for letter in text)
    words = " ".join(visible.encode(errors="replace").decode().split())
    return words if len(words) <= maximum else f"{words[: maximum - 1]}…"
