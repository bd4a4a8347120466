"""Sets how the process frees memory: what the C library keeps, and what is looked at for cycles."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_BYTES = 2**20


def return_large_blocks() -> None:
    """Keep glibc from holding on to large blocks that were freed.

    At first it maps blocks from 128 KiB on by themselves, but raises that limit up to 32 MiB as
    they are freed, and then keeps them for each of several threads (mallopt(3), M_MMAP_THRESHOLD).
    Bodies of 8 MiB took 500 MiB so, and take 220 MiB without. Other C libraries have no such call.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _BYTES)


@contextmanager
def lasting() -> Iterator[None]:
    """Take what the block makes to last as long as the process.

    Python looks for cycles among all objects as their number grows, which takes longer than to
    load a store, and later now and then some tenths of a second. What is there after the block is
    never looked at again. What the block needed for a while goes back to the system.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
            trim(0)


_YOUNG = 20_000
"""Objects that are made, beyond those that go, before Python looks for cycles among them."""


def collect_seldom() -> None:
    """Have Python look for cycles of objects less often than after 700 new ones.

    The JSON of one report makes more than half as many, none of them in a cycle. Looking through
    them again and again took a tenth of a server's time.
    """
    _, middle, old = gc.get_threshold()
    gc.set_threshold(_YOUNG, middle, old)
