"""Notices sockets that come and go, without ever looking below the folders of the globs.

Events only ever mean "look again": a socket made together with its folder gives none of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection

import watchfiles

from plugin_types.csi.sockets import folders_to_watch
from plugind import logs

CHECK_MS = 1_000
"""How often it is looked whether the folders are still the same ones."""

_STEP_MS = 20  # quiet for this long, and a burst of events is over
_BURST_MS = 200  # but this long is enough for one

_log = logs.get("csi")


def watch_forever(patterns: Collection[str], look_again: Callable[[], None]) -> None:
    """Calls ``look_again`` whenever something happened in the folders of the globs.

    Returns only where there is no glob.
    """
    pause = threading.Event()
    trouble = ""
    while patterns:
        try:
            if folders := _identities(patterns):
                _watch(patterns, folders, look_again)
            else:
                pause.wait(CHECK_MS / 1000)
        except FileNotFoundError:
            pause.wait(0.05)  # a folder went away just now
        except (OSError, RuntimeError) as error:  # the second is how watchfiles' own are caught
            if str(error) != trouble:
                trouble = str(error)
                _log.warning("cannot watch; sockets are looked for every second", reason=trouble)
            pause.wait(CHECK_MS / 1000)


def _watch(
    patterns: Collection[str],
    folders: dict[str, tuple[int, int]],
    look_again: Callable[[], None],
) -> None:
    """Watches until the folders are not the same any more."""
    events = watchfiles.watch(
        *folders,
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
        same = _identities(patterns) == folders
        # What came before the watch was armed gave no event.
        if changes or not same or not armed:
            look_again()
        armed = True
        if not same:
            return


def _identities(patterns: Collection[str]) -> dict[str, tuple[int, int]]:
    """The folders with device and inode: a folder made anew under an old name is another one."""
    found = {}
    for folder in sorted(folders_to_watch(patterns)):
        try:
            status = os.stat(folder)
        except OSError:
            continue
        found[folder] = (status.st_dev, status.st_ino)
    return found
