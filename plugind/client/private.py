"""Files with secrets: whether other users of the machine can read or change them."""

from __future__ import annotations

import stat
from pathlib import Path


def is_open_to_others(path: Path) -> bool:
    """Return whether every user could read or change a file, or its group could change it.

    A pipe, such as a shell's <(...), counts as closed, and so does a file that is gone.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & (stat.S_IRWXO | stat.S_IWGRP))
