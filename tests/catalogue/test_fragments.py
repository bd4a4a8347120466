"""Fragments of JSON use little more memory than their length."""

from __future__ import annotations

import tracemalloc

import pytest

from plugind.catalogue.fragments import fragment

OVERHEAD = 64
"""Bytes of a Python object in addition to its contents, estimated generously."""


@pytest.mark.parametrize("value", [{"ID": "ebs0"}, [{"ID": "ebs0", "number": 1}] * 20_000])
def test_a_fragment_has_no_room_to_spare(value: object) -> None:
    fragment(value)
    tracemalloc.start()
    try:
        made = fragment(value)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(made) < size < len(made) + 2 * OVERHEAD + len(made) // 10
