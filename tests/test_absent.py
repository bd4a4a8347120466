"""Importing a package as if another one were not installed."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest

from plugind.absent import absent

UNUSED = "this"
"""A module of Python's own that nothing else imports."""


def test_it_cannot_be_imported_in_the_block_and_can_afterwards(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sys.modules.pop(UNUSED, None)
    with absent(UNUSED), pytest.raises(ModuleNotFoundError):
        import_module(UNUSED)
    assert import_module(UNUSED).__name__ == UNUSED
    del sys.modules[UNUSED]


def test_what_was_imported_before_stays() -> None:
    with absent("sys"):
        assert import_module("sys") is sys
    assert sys.modules["sys"] is sys
