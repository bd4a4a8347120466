"""Sets how the process frees memory: through the C library and Python's garbage collector."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_BYTES = 2**20


def return_large_blocks() -> None:
    """Keep glibc from holding on to large blocks that were freed.

    glibc initially maps each block of 128 KiB or more separately, but raises that threshold to up
    to 32 MiB as such blocks are freed, and from then on keeps freed blocks for each of several
    threads (mallopt(3), M_MMAP_THRESHOLD). With bodies of 8 MiB the process took 500 MiB; with a
    fixed threshold it takes 220 MiB. Other C libraries have no such call.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _BYTES)


@contextmanager
def lasting() -> Iterator[None]:
    """Treat the objects that the block creates as living as long as the process.

    As the number of objects grows, Python looks for cycles among all of them. That takes longer
    than loading a store, and later some tenths of a second now and then. Objects that exist at the
    end of the block are never examined again. Memory that the block needed only temporarily is
    returned to the system.
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
"""Objects created minus objects freed before Python looks for cycles among the new ones."""


def collect_seldom() -> None:
    """Look for cycles among new objects after ``_YOUNG`` of them instead of Python's 700.

    The JSON of one report creates more than 350 objects, none of them in a cycle. Examining them
    again and again took a tenth of a server's time.
    """
    _, middle, old = gc.get_threshold()
    gc.set_threshold(_YOUNG, middle, old)
