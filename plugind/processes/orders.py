"""The messages between a parent process and its workers, over a pair of sockets.

The configuration in force is sent this way: so a worker that is started later gets the same one as
the others, whatever the files contain by then, and no secret appears in arguments or environment
variables. Messages are pickled, because both ends are the same program of the same user.
"""

from __future__ import annotations

import os
import pickle
import socket
import struct
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import TypeAlias

from plugind.acl import Acl
from plugind.config.settings import Settings
from plugind.errors import PlugindError

SEND_TIMEOUT = 5
"""Seconds after which a process that reads nothing counts as hung."""

START_TIMEOUT = 60
"""The same for a process that was just started and may be slow to read its first order."""


@dataclass(frozen=True)
class Start:
    """The first order: become a worker with these settings. ``declares``: write the declarations.

    ``address`` is the HOST:PORT at which others reach the server.
    """

    settings: Settings
    acl: Acl
    declares: bool
    address: str


@dataclass(frozen=True)
class TakeAcl:
    """Put policies and tokens into force. ``number`` is the reload's, or 0 after loading."""

    acl: Acl
    number: int


@dataclass(frozen=True)
class Declare:
    """Write the declarations of these settings. Each order has a ``number`` of its own."""

    settings: Settings
    number: int


@dataclass(frozen=True)
class Stop:
    """Finish the requests in progress, and end."""


@dataclass(frozen=True)
class Loaded:
    """The worker carries out orders from now on. It serves once it has received policies and
    tokens, because a reload may have changed those that it was started with."""


@dataclass(frozen=True)
class Ready:
    """The worker serves."""


@dataclass(frozen=True)
class Failed:
    """The worker cannot start; ``reason`` is one line."""

    reason: str


@dataclass(frozen=True)
class Done:
    """The order with that number was carried out, or failed; ``reason`` is then one line."""

    number: int
    reason: str = ""


Order: TypeAlias = Start | TakeAcl | Declare | Stop
Answer: TypeAlias = Loaded | Ready | Failed | Done


def pair() -> tuple[Connection, socket.socket]:
    """Return the parent's end, and the end that a worker inherits."""
    ours, theirs = socket.socketpair()
    return Connection(ours.detach()), theirs


def limit_sending(connection: Connection, seconds: int) -> None:
    """Have sending fail with an OSError when the other end reads nothing for ``seconds``."""
    timeout = struct.pack("ll", seconds, 0)
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)


def handed_over(settings: Settings) -> Settings:
    """Return the part of settings that a worker needs.

    Raise PlugindError if they cannot be sent to another process.
    """
    needed = replace(settings, written=(), types={}, type_blocks={})
    try:
        pickle.dumps(needed)
    except Exception as error:  # the settings of a store are its package's objects
        text = (
            f"the settings of the store {settings.store.name} cannot be given to worker processes: "
            f"{error}; set server.workers = 1"
        )
        raise PlugindError(text) from error
    return needed
