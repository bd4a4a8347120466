"""The meaning of text between quotes, or in a heredoc, in HCL.

See "Quoted templates" and "Heredoc templates" in
https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md.
"""

from __future__ import annotations

import re

_TEMPLATE = r"(?P<doubled>\$\$\{|%%\{)|(?P<expression>\$\{|%\{)"
_QUOTED = re.compile(
    rf"{_TEMPLATE}|\\u(?P<four>[0-9a-fA-F]{{4}})|\\U(?P<eight>[0-9a-fA-F]{{8}})"
    r'|\\(?P<short>[nrt"\\])|(?P<wrong>\\.?|"|\n)',
    re.DOTALL,
)
_HEREDOC = re.compile(_TEMPLATE)
_SHORT = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


class Refused(ValueError):
    """A text that HCL does not allow; the message says why."""


def quoted(raw: str) -> str:
    """Return the meaning of the text between two quotes. Raise Refused."""
    return _QUOTED.sub(_meaning, raw)


def heredoc(raw: str) -> str:
    """Return the meaning of a heredoc, from ``<<`` to its closing word and the line's end.

    The result ends with a new line unless it is empty; after ``<<-`` the indentation that all lines
    share is removed. Raise Refused.
    """
    opening, *lines, _, _ = raw.replace("\r\n", "\n").split("\n")
    if opening.startswith("<<-"):
        indents = [len(line) - len(line.lstrip(" \t")) for line in lines if line.strip(" \t")]
        lines = [line[min(indents, default=0) :] for line in lines]
    return _HEREDOC.sub(_meaning, "".join(f"{line}\n" for line in lines))


def _meaning(match: re.Match[str]) -> str:
    found = match.groupdict()
    if found["doubled"]:
        return match[0][1:]
    if found["expression"]:
        raise Refused(
            f"expressions are not supported; write the value itself ({match[0][0]}{match[0]} for "
            f"a plain {match[0]})"
        )
    if found["short"]:
        return _SHORT[found["short"]]
    return _character(found["four"] or found["eight"], match[0])


def _character(digits: str | None, written: str) -> str:
    if written in ('"', "\n"):  # The grammar looks for the } beyond the string's end.
        raise Refused(r'write "\u0024{" for ${ (and "\u0025{" for %{) without a } after it')
    if digits is None:
        raise Refused(rf"{written!r} is not an escape; use \n \r \t \" \\ \uNNNN \UNNNNNNNN")
    number = int(digits, 16)
    if not 0 < number <= 0x10FFFF or 0xD800 <= number < 0xE000:
        raise Refused(f"{written} is not a character")
    return chr(number)
