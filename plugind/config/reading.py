"""Files of configuration, policies and tokens as trees, whatever their syntax.

The parser of HCL is imported for the first such file. A worker process is given what its parent has
read, and needs none.
"""

from __future__ import annotations

import sys
from pathlib import Path
from pkgutil import resolve_name

from plugind.config import hcl_json
from plugind.config.text import SIZE_MAXIMUM, read
from plugind.config.tree import Body, Place


def parse_file(path: Path) -> Body:
    """Return the tree of a file; see ``read_file``.

    Raise ConfigError with every mistake that can be found, also when the file cannot be read.
    """
    return read_file(path)[1]


def read_file(
    path: Path,
    maximum: int = SIZE_MAXIMUM,
    block_maximum: int = SIZE_MAXIMUM,
    *,
    literal: bool = False,
) -> tuple[str, Body]:
    """Return the text of a file, and its tree.

    A file whose name ends in ``.json``, or that begins with a brace, as no HCL does, is read as
    JSON. The file may have at most ``maximum`` bytes, and as HCL no block of more than
    ``block_maximum``: the parser takes some ten microseconds a byte. ``literal`` is as in
    ``parse_text``. Raise ConfigError.
    """
    place = Place(str(path), folder=path.absolute().parent)
    text = read(path, place, maximum)
    if path.suffix == ".json" or text.removeprefix("\ufeff").lstrip().startswith("{"):
        return text, hcl_json.parse_text(text, place, maximum)
    body: Body = resolve_name("plugind.config.hcl:parse_text")(
        text, place, maximum, block_maximum, literal=literal
    )
    return text, body


def forget_parser() -> None:
    """Free the memory that the parser of HCL holds, if there is one, once all files are read."""
    if (hcl := sys.modules.get("plugind.config.hcl")) is not None:
        hcl.forget_parser()
