"""The access log: one line of JSON a request, fit to be an audit trail.

A line has the caller, the request, the rule that decided, and how it ended. It has no header and no
body, and only those parameters of the query that an endpoint declares, so that no secret gets into
it.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import orjson

from plugind import logs
from plugind.api.exchange import Exchange
from plugind.errors import ConfigError, Mistake
from plugind.model.times import format_time
from plugind.wire.texts import tame

_TEXT_MAXIMUM = 512
_MODE = 0o640

_log = logs.get("api")


class AccessLog:
    """Appends to ``file``, which may be moved away at any time (by logrotate, say): the next line
    begins a new one. ``parameters`` are those of a query that are logged.

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
        """Return why the last line could not be written; "" when it could."""
        return self._trouble

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def answered(self, exchange: Exchange, status: int, index: int) -> None:
        """Log a request that is answered; ``index`` is 0 where the answer has none."""
        request = exchange.request
        known = sorted(self._parameters & request.query.keys())
        self._append(
            {
                "time": format_time(time.time_ns()),
                "remote": request.remote,
                "accessor": exchange.accessor,
                "method": tame(request.method, _TEXT_MAXIMUM),
                "path": tame(request.path, _TEXT_MAXIMUM),
                "query": {name: tame(request.query[name], _TEXT_MAXIMUM) for name in known},
                "decision": exchange.decision,
                "rule": exchange.rule,
                "status": status,
                "index": index,
                "duration_ms": round((time.monotonic() - exchange.began) * 1000, 3),
            }
        )

    def refused(self, remote: str, method: str, path: str, status: int) -> None:
        """Log a request that the HTTP server refused itself, before it came to the application."""
        self._append(
            {
                "time": format_time(time.time_ns()),
                "remote": remote,
                "accessor": "",
                "method": tame(method, _TEXT_MAXIMUM),
                "path": tame(path, _TEXT_MAXIMUM),
                "query": {},
                "decision": "",
                "rule": "",
                "status": status,
                "index": 0,
                "duration_ms": 0.0,
            }
        )

    def _append(self, entry: Mapping[str, object]) -> None:
        """Write a line. Where that fails the request is still answered, and health says so."""
        try:
            self._file.append(orjson.dumps(entry) + b"\n")
        except OSError as error:
            if not self._trouble:
                _log.error("the access log cannot be written", reason=error.strerror)
            self._trouble = f"the access log cannot be written: {error.strerror}"
        else:
            self._trouble = ""


class _File:
    """A file that other programs may move away. Safe for threads; any method may raise OSError."""

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
                os.write(self._descriptor, b"\n")  # raises the reason, or ends the line

    def close(self) -> None:
        with self._lock:
            os.close(self._descriptor)

    def _is_moved(self) -> bool:
        with suppress(FileNotFoundError):
            return not os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        return True

    def _open(self) -> int:
        """Open the file. Refuse one that could make a writer wait, as a pipe without a reader."""
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
