"""Another user of a machine whose agent runs as root; a separate process, started by root.

``python -m tests.attacks.neighbour FOLDER SOCKET`` drops all rights but those of user OTHER, who
owns FOLDER. In that folder it replaces two files without pause: the executable of a check (by an
executable of its own, a link to one, and nothing), and a driver's socket (by a link to SOCKET, a
socket that never answers, a file, and nothing). The executable writes the user that runs it to
FOLDER/ran.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle

from tests.attacks.attacker import at_it

OTHER = 12_345
CHECK, DISKS = "check", "disks.sock"
SCRIPT = "#!/bin/sh\nid -u >> {}/ran\necho OK\n"
PAUSE = 0.002


def main(folder: str, target: str) -> None:
    counts: Counter[str] = Counter()
    os.chdir(folder)  # without rights its path may be inaccessible
    os.setgroups([])
    os.setgid(OTHER)
    os.setuid(OTHER)
    listening: list[socket.socket] = []

    def own(name: str) -> None:
        with open(name, "w") as file:
            file.write(SCRIPT.format(folder))
        os.chmod(name, 0o777)

    def mute(name: str) -> None:
        listening[:] = [socket.socket(socket.AF_UNIX)]
        listening[0].bind(name)
        listening[0].listen()

    def link(to: str) -> Callable[[str], None]:
        return lambda name: os.symlink(to, name)

    own("theirs")
    programs = cycle([own, link("theirs"), link("/bin/true"), lambda name: None])
    sockets = cycle([link(target), mute, own, lambda name: None])
    for swapped in (CHECK, DISKS):
        with suppress(FileNotFoundError):
            os.unlink(swapped)
    at_it(counts)
    while True:
        for name, make in ((CHECK, next(programs)), (DISKS, next(sockets))):
            make("new")
            if os.path.lexists("new"):
                os.rename("new", name)
            else:
                os.unlink(name)
            counts["swaps"] += 1
        time.sleep(PAUSE)


if __name__ == "__main__":
    main(*sys.argv[1:])
