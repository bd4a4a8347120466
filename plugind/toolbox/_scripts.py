"""Finding the script that an interpreter runs, from its arguments."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

_INTERPRETER = re.compile(
    r"-?(python|pypy|node|nodejs|bun|deno|java|ruby|perl|php|lua|dotnet|mono|(ba|da|a|k|z)?sh)[\d.]*"
)
_SHELL = re.compile(r"-?(ba|da|a|k|z)?sh")
_INLINE = {"-c", "-e", "--eval", "--print"}
_NAMES_SCRIPT = {"-m", "-jar"}
_TAKES_VALUE = {
    *("-W", "-X", "-Q"),  # python
    *("-r", "--require", "--import", "--loader", "--experimental-loader"),  # node, ruby
    *("-cp", "-classpath", "--class-path", "-p", "--module-path", "--add-modules"),  # java
    "-o",  # shells
}


def script_path_of(arguments: Sequence[str]) -> str:
    """Return the path of the script, module or archive that an interpreter runs, as given in its
    arguments.

    The result is "" for any other program, and for a command in a string.
    """
    if not arguments or not _INTERPRETER.fullmatch(os.path.basename(arguments[0])):
        return ""
    inline = _INLINE if _SHELL.fullmatch(os.path.basename(arguments[0])) is None else {"-c"}
    rest = iter(arguments[1:])
    for argument in rest:
        if argument in inline:
            return ""
        if argument in _NAMES_SCRIPT:
            return next(rest, "")
        if argument in _TAKES_VALUE:
            next(rest, "")
        elif not argument.startswith(("-", "+")):
            return argument
    return ""
