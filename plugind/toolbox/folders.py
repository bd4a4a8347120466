"""Notices entries that appear, disappear and change in folders, without looking below them.

Events only ever mean "look again": an entry that is made together with its folder causes no event.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Collection

import watchfiles

from plugind import logs

CHECK_MS = 1_000
"""Milliseconds between two checks whether the folders are still the same ones."""

_STEP_MS = 20  # quiet for this long, and a burst of events is over
_BURST_MS = 200  # but this long is enough for one

_log = logs.get("prober")

Folders = Callable[[], Collection[str]]


def watch_forever(folders: Folders, look_again: Callable[[], None]) -> None:
    """Call ``look_again`` whenever something happened in one of the folders.

    ``folders`` is asked for their paths every second: some may appear later, or be made again.
    """
    pause = threading.Event()
    trouble = ""
    while True:
        try:
            if present := _identities(folders):
                _watch(folders, present, look_again)
            else:
                pause.wait(CHECK_MS / 1000)
        except FileNotFoundError:
            pause.wait(0.05)  # a folder was removed just now
        except (OSError, RuntimeError) as error:  # the second is watchfiles' own
            if str(error) != trouble:
                trouble = str(error)
                _log.warning(
                    "cannot watch folders; they are looked at every second", reason=trouble
                )
            pause.wait(CHECK_MS / 1000)


def _watch(
    folders: Folders, present: dict[str, tuple[int, int]], look_again: Callable[[], None]
) -> None:
    """Watch until the folders are no longer the same."""
    events = watchfiles.watch(
        *present,
        watch_filter=None,
        debounce=_BURST_MS,
        step=_STEP_MS,
        rust_timeout=CHECK_MS,
        yield_on_timeout=True,
        recursive=False,
        raise_interrupt=False,
    )
    armed = False
    for changes in events:
        same = _identities(folders) == present
        # A change before the watch was armed gave no event.
        if changes or not same or not armed:
            look_again()
        if not same:
            return
        armed = True


def _identities(folders: Folders) -> dict[str, tuple[int, int]]:
    """Return the folders that can be watched, with device and inode.

    A folder that is made again under an old name has another identity.
    """
    found = {}
    for folder in sorted(folders()):
        try:
            status = os.stat(folder)
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode) and os.access(folder, os.R_OK | os.X_OK):
            found[folder] = (status.st_dev, status.st_ino)
    return found
