"""The parsing of configuration, policy and token files, in HCL or JSON, into trees.

The HCL parser is imported for the first HCL file. A worker process does not need it, because its
parent passes on the settings that it has read.
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

    Raise ConfigError with every mistake that can be found, or if the file cannot be read.
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
    JSON. The file may have at most ``maximum`` bytes. A block in HCL may have at most
    ``block_maximum`` characters, because the parser takes about ten microseconds per byte.
    ``literal`` is as in ``hcl.parse_text``. Raise ConfigError.
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
    """Free the memory of the HCL parser, if it was imported; call this once all files are read."""
    if (hcl := sys.modules.get("plugind.config.hcl")) is not None:
        hcl.forget_parser()
