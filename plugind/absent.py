"""Imports a package as if another package were not installed.

Some packages import others if they are installed, for features that plugind never uses.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def absent(name: str) -> Iterator[None]:
    """Make imports of a package fail in the block, unless it was imported before."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # the import system then raises
    try:
        yield
    finally:
        del sys.modules[name]
