"""Finds out, from a socket's path, the ID of its plugin, and why the socket is unreachable."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat

from plugind.fields import ID_PATTERN

PATH_MAXIMUM = 107
"""Bytes of a socket's path: sun_path, less the terminating null byte (unix(7))."""


def plugin_id(name: str) -> str:
    """Return the name as a plugin's ID: every character that an ID cannot have becomes a dash.

    A name without any usable character gets an ID that no other such name has.
    """
    id = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("._-")[:128]
    if ID_PATTERN.fullmatch(id):
        return id
    return f"unnamed-{hashlib.blake2b(name.encode(errors='replace'), digest_size=4).hexdigest()}"


def too_long(path: str) -> str:
    """Return a problem if the path is too long to reach any socket by it; "" otherwise."""
    if len(os.fsencode(path)) <= PATH_MAXIMUM:
        return ""
    return f"the path {path} is longer than the {PATH_MAXIMUM} bytes that a socket's may have"


def hangs(path: str) -> str:
    """Return a problem if the listener on a socket accepts no more connections; "" otherwise.

    Then its backlog is full: the process is alive, but has stopped accepting. The path must not be
    ``too_long``.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except BlockingIOError:
            return f"the server on {path} hangs: it accepts no connection (its backlog is full)"
        except OSError:
            pass
    return ""


def unreachable(path: str) -> str:
    """Return why no process can be reached at a socket, for operators; "" if one can.

    The path must not be ``too_long``.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except BlockingIOError:
            return ""  # its backlog is full, so a process listens
        except (FileNotFoundError, NotADirectoryError):
            return f"no socket at {path}"
        except ConnectionRefusedError:
            if not _is_socket(path):
                return f"{path} is not a socket"
            return f"nothing listens on {path}: connection refused (is the driver running?)"
        except OSError as error:
            return f"cannot connect to {path}: {(error.strerror or str(error)).lower()}"
    return ""


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False
