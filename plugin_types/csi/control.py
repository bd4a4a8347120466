"""Sends commands to a running sample driver."""

from __future__ import annotations

import socket

from plugind.errors import BadRequest, PlugindError


def control_path(path: str) -> str:
    """Return the path where the sample driver at ``path`` takes commands.

    No glob of sockets may match it.
    """
    return f"{path}.control"


def send(path: str, command: str, timeout: float = 5.0) -> None:
    """Send a command to the driver at ``path``; it applies to every later call.

    ``timeout`` is in seconds. Raise BadRequest for an unknown command, PlugindError when no driver
    accepts it.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(control_path(path))
            connection.sendall(" ".join(command.split()).encode(errors="replace") + b"\n")
            answer = connection.makefile(encoding="utf-8").read()
    except OSError as error:
        raise PlugindError(
            f"no sample driver takes commands at {control_path(path)}: {error}; is it running?"
        ) from error
    if answer.strip():
        raise BadRequest(answer.strip())
