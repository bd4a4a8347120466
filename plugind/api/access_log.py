"""The access log: one line of JSON a request, fit to be an audit trail.

A line says who asked for what, which rule decided, and how it ended; no header and no body, and of
the query only parameters that an endpoint declares, so that no secret gets into it.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import orjson
from flask import Flask, Response, g, request

from plugind import logs
from plugind.errors import ConfigError, Mistake
from plugind.fields import format_time, tame

_TEXT_MAXIMUM = 512
_MODE = 0o640

_log = logs.get("api")


class AccessLog:
    """Appends to ``file``, which may be moved away at any time (by logrotate, say): the next line
    begins a new one. ``parameters`` are those of a query that may be told.

    Raises ConfigError when the file cannot be written.
    """

    def __init__(self, file: Path, parameters: Collection[str]) -> None:
        self._parameters = frozenset(parameters)
        self._trouble = ""
        try:
            self._file = _File(file)
        except OSError as error:
            text = f"{file} cannot be written: {error.strerror}"
            raise ConfigError([Mistake("server.access_log", 0, 0, text)]) from error

    @property
    def trouble(self) -> str:
        """Why the last line could not be written; "" when it could."""
        return self._trouble

    def watch(self, app: Flask) -> None:
        """Logs every request to an application from now on."""
        # First of all, for what is called before it may refuse the request.
        app.before_request_funcs.setdefault(None, []).insert(0, _begin)
        app.after_request(self._end)

    def close(self) -> None:
        self._file.close()

    def _end(self, response: Response) -> Response:
        """A request is answered though its line is lost; health and the log tell of that."""
        try:
            self._file.append(orjson.dumps(self._entry(response)) + b"\n")
        except OSError as error:
            if not self._trouble:
                _log.error("the access log cannot be written", reason=error.strerror)
            self._trouble = f"the access log cannot be written: {error.strerror}"
        else:
            self._trouble = ""
        return response

    def _entry(self, response: Response) -> dict[str, object]:
        told = {name: request.args[name] for name in self._parameters & request.args.keys()}
        return {
            "time": format_time(time.time_ns()),
            "remote": request.remote_addr or "",
            "accessor": g.get("accessor", ""),
            "method": tame(request.method, _TEXT_MAXIMUM),
            "path": tame(request.path, _TEXT_MAXIMUM),
            "query": {name: tame(value, _TEXT_MAXIMUM) for name, value in sorted(told.items())},
            "decision": g.get("decision", ""),
            "rule": g.get("rule", ""),
            "status": response.status_code,
            "index": response.headers.get("X-Nomad-Index", 0, int),
            "duration_ms": round((time.monotonic() - g.began) * 1000, 3),
        }


class _File:
    """A file that others may move away. Safe for threads; each method may raise OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._descriptor = self._open()

    def append(self, line: bytes) -> None:
        with self._lock:
            if self._is_moved():
                old, self._descriptor = self._descriptor, self._open()
                os.close(old)
            if os.write(self._descriptor, line) < len(line):
                os.write(self._descriptor, b"\n")  # says why, or ends what was cut off

    def close(self) -> None:
        with self._lock:
            os.close(self._descriptor)

    def _is_moved(self) -> bool:
        with suppress(FileNotFoundError):
            return not os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        return True

    def _open(self) -> int:
        """What could make a writer wait, as a pipe that nobody reads, is refused."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        with suppress(FileNotFoundError):
            _check(os.stat(self._path).st_mode)
        descriptor = os.open(self._path, flags, _MODE)
        try:
            _check(os.fstat(descriptor).st_mode)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


def _check(mode: int) -> None:
    if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode)):
        raise OSError(errno.EINVAL, "it is neither a regular file nor a character device")


def _begin() -> None:
    g.began = time.monotonic()
