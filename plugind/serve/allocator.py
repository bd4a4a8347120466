"""Has the memory of large bodies go back to the system once they are answered."""

from __future__ import annotations

import ctypes

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
