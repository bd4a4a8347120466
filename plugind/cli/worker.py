"""A worker process of a server: ``python -m plugind.cli.worker``, started by its parent.

Its arguments are its number; the file descriptors of its connection to the parent, of the listening
socket, and of the memory that all processes of the server share; and the number of workers.
Everything else comes over the connection.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.connection import Connection

from plugind import logs
from plugind.cli.signals import Signals
from plugind.processes.orders import Start
from plugind.processes.serving import End, Parent, serve
from plugind.serve.board import Board


def main() -> int:
    """Serve until the parent ends or asks this process to stop; return the exit status."""
    number, connection, listening, board, workers = map(int, sys.argv[1:])
    # Otherwise a process that a package starts here would keep them open after this one ends.
    for each in (connection, listening, board):
        os.set_inheritable(each, False)
    # A terminal and systemd signal all processes, but only the parent decides when this one ends.
    signals = Signals(ended_by_signals=False)
    parent = Parent(Connection(connection))
    start = parent.receive()
    if not isinstance(start, Start):
        return 0  # the parent has ended
    logs.configure(
        start.settings.log_level, json=start.settings.log_json, process=f"worker {number}"
    )
    sock = socket.socket(fileno=listening)

    def wait() -> None:
        while signals.wait() == signal.SIGHUP:
            pass  # the parent reads the configuration

    with redirect_stdout(logs.SafeStream()), redirect_stderr(logs.SafeStream()), sock:
        end = End(wait, signals.end)
        status = serve(number, parent, start, sock, Board(board, workers), end)
    signals.close()
    return status


if __name__ == "__main__":
    sys.exit(main())
