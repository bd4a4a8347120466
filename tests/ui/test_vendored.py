"""Third-party files kept here are identical to those that their authors published."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from plugind.ui import assets

ROOT = Path(__file__).parent.parent.parent

VENDORED = {
    "plugind/ui/static/idiomorph.js": (
        "4cbd535caf7663a51eda9bce6595371c384fc430d54b8d414e29a61167f19f96"
    ),
    "plugind/ui/static/idiomorph.LICENSE": (
        "d3d2456f76414f2456104660ebd65aff1c04cd7966b942bdabd63f3cdb316a38"
    ),
    "tests/ui/vendor/axe.js": ("29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"),
    "tests/ui/vendor/axe.LICENSE": (
        "af175b9d96ee93c21a036152e1b905b0b95304d4ae8c2c921c7609100ba8df7e"
    ),
}
"""SHA-256 of dist/idiomorph.min.js of idiomorph 0.8.0, of axe.min.js of axe-core 4.14.1, both from
npm, and of their licenses."""


@pytest.mark.parametrize("name", VENDORED)
def test_a_vendored_file_is_unchanged(name: str) -> None:
    assert hashlib.sha256((ROOT / name).read_bytes()).hexdigest() == VENDORED[name]


def test_no_script_evaluates_text() -> None:
    for name in ("page.js", "idiomorph.js"):
        text = assets._ASSETS[name].decode()
        for word in ("eval(", "new Function", "document.write", "insertAdjacentHTML"):
            assert word not in text, name
    assert "innerHTML" not in assets._ASSETS["page.js"].decode()
