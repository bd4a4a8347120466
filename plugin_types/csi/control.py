"""Tells a sample driver that is running to behave otherwise."""

from __future__ import annotations

import socket

from plugind.errors import BadRequest, PlugindError


def control_path(path: str) -> str:
    """Where the sample driver at ``path`` takes commands; no glob of sockets may match it."""
    return f"{path}.control"


def tell(path: str, command: str, timeout: float = 5.0) -> None:
    """Gives a command to the driver at ``path``; it counts for every call that comes after.

    Raises BadRequest when the driver knows no such command, PlugindError when no driver takes it.
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
