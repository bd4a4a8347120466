"""Watches folders, but not their subfolders, for entries that appear, disappear or change.

An event only means "look again", because not every change causes one: an entry that is created
together with its folder does not.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Collection

import watchfiles

from plugind import logs

CHECK_MS = 1_000
"""Milliseconds between two checks whether the paths still lead to the same folders."""

_STEP_MS = 20  # a burst of events is over after this long without one
_BURST_MS = 200  # or, at the latest, this long after it began

_log = logs.get("prober")

Folders = Callable[[], Collection[str]]


def watch_forever(folders: Folders, look_again: Callable[[], None]) -> None:
    """Call ``look_again`` whenever something has happened in one of the folders.

    ``folders`` is called every second for their paths: some may appear later or be recreated.
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
        except (OSError, RuntimeError) as error:  # watchfiles raises RuntimeError
            if str(error) != trouble:
                trouble = str(error)
                _log.warning(
                    "cannot watch folders; they are looked at every second", reason=trouble
                )
            pause.wait(CHECK_MS / 1000)


def _watch(
    folders: Folders, present: dict[str, tuple[int, int]], look_again: Callable[[], None]
) -> None:
    """Watch until the paths no longer lead to the same folders."""
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
        # A change before the watch was armed caused no event.
        if changes or not same or not armed:
            look_again()
        if not same:
            return
        armed = True


def _identities(folders: Folders) -> dict[str, tuple[int, int]]:
    """Return the paths of the folders that can be watched, each with its device and inode.

    A folder that is recreated under its old name has a different inode.
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
