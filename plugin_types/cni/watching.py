"""Notices files that come, go and change in the folders, and never looks below these.

Events only ever mean "look again".
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection

import watchfiles
from watchfiles._rust_notify import WatchfilesRustInternalError

from plugind import logs

CHECK_MS = 1_000
"""How often it is looked whether the folders are still the same ones."""

_STEP_MS = 20  # quiet for this long, and a burst of events is over
_BURST_MS = 200  # but this long is enough for one

_log = logs.get("cni")


def watch_forever(folders: Collection[str], look_again: Callable[[], None]) -> None:
    """Calls ``look_again`` whenever something happened in one of the folders, which may also come
    later."""
    pause = threading.Event()
    trouble = ""
    while True:
        try:
            if present := _identities(folders):
                _watch(folders, present, look_again)
                continue
        except FileNotFoundError:
            pass  # a folder went away just now
        except (OSError, WatchfilesRustInternalError) as error:
            if str(error) != trouble:
                trouble = str(error)
                _log.warning("cannot watch; files are looked for every second", reason=trouble)
        pause.wait(CHECK_MS / 1000)


def _watch(
    folders: Collection[str],
    present: dict[str, tuple[int, int]],
    look_again: Callable[[], None],
) -> None:
    """Watches until the folders are not the same any more."""
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
    for changes in events:
        same = _identities(folders) == present
        if changes or not same:
            look_again()
        if not same:
            return


def _identities(folders: Collection[str]) -> dict[str, tuple[int, int]]:
    """Those that exist and may be read, with device and inode: a folder made anew under an old
    name is another one."""
    found = {}
    for folder in folders:
        if os.access(folder, os.R_OK | os.X_OK) and os.path.isdir(folder):
            status = os.stat(folder)
            found[folder] = (status.st_dev, status.st_ino)
    return found
