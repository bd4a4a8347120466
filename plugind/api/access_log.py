"""The access log: one line of JSON per request, fit for use as an audit trail.

Each line has the caller, the request, the rule that decided, and the outcome. It has no headers, no
body, and only those query parameters that some endpoint declares, so no secret gets into the log.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import orjson

from plugind import logs
from plugind.api.exchange import Exchange
from plugind.api.request import Request
from plugind.errors import ConfigError, Mistake
from plugind.health.threads import OwnedThread
from plugind.model.times import format_time
from plugind.wire.texts import tame

INTERVAL = 0.1
"""Approximate seconds that a line waits to be written. A process that is killed loses that much."""

LINES_MAXIMUM = 20_000
"""Most lines that may wait. The thread that adds one at this number writes them all itself."""

_TEXT_MAXIMUM = 512
_MODE = 0o640

_log = logs.get("api")


class AccessLog:
    """Appends to ``file``, which may be moved away at any time (for example by logrotate): the next
    line then starts a new file. ``parameters`` are the query parameters that are logged.

    A thread writes the lines in batches, within INTERVAL, because one write per line would take
    longer than many answers do. Raises ConfigError if the file cannot be written.
    """

    def __init__(self, file: Path, parameters: Collection[str]) -> None:
        self._parameters = frozenset(parameters)
        self._trouble = ""
        self._lines: deque[_Line] = deque()
        self._writing = threading.Lock()
        self._has_lines, self._ended = threading.Event(), threading.Event()
        try:
            self._file = _File(file)
        except OSError as error:
            text = f"{file} cannot be written: {error.strerror}"
            raise ConfigError([Mistake("server.access_log", 0, 0, text)]) from error
        self.thread = OwnedThread("access log", self._run, restarts=True)
        self.thread.start()

    @property
    def trouble(self) -> str:
        """Return why the last lines could not be written; "" if they were written."""
        return self._trouble

    def close(self) -> None:
        """Write the waiting lines, and close the file."""
        self._ended.set()
        self._has_lines.set()
        self.thread.join()
        self.flush()
        self._file.close()

    def fields(self, exchange: Exchange, status: int, index: int) -> Mapping[str, object]:
        """Return the fields of a line other than its time, its remote address and its duration.
        ``index`` is 0 if the answer has none."""
        request = exchange.request
        return {
            "accessor": exchange.accessor,
            "method": tame(request.method, _TEXT_MAXIMUM),
            "path": tame(request.path, _TEXT_MAXIMUM),
            "query": self.query(request),
            "decision": exchange.decision,
            "rule": exchange.rule,
            "status": status,
            "index": index,
        }

    def query(self, request: Request) -> Mapping[str, str]:
        """Return those query parameters of a request that are logged."""
        known = sorted(self._parameters & request.query.keys())
        return {name: tame(request.query[name], _TEXT_MAXIMUM) for name in known}

    def answered(self, remote: str, fields: Mapping[str, object], seconds: float) -> None:
        """Log a request from the address ``remote`` that took ``seconds`` to answer."""
        self._lines.append(_Line(time.time_ns(), remote, fields, seconds))
        if not self._has_lines.is_set():
            self._has_lines.set()
        elif len(self._lines) >= LINES_MAXIMUM:
            self.flush()

    def refused(self, remote: str, method: str, path: str, status: int) -> None:
        """Log a request that the HTTP server refused before it reached the application."""
        fields = {
            "accessor": "",
            "method": tame(method, _TEXT_MAXIMUM),
            "path": tame(path, _TEXT_MAXIMUM),
            "query": {},
            "decision": "",
            "rule": "",
            "status": status,
            "index": 0,
        }
        self.answered(remote, fields, 0.0)

    def flush(self) -> None:
        """Write the waiting lines. If that fails, they are lost, and health reports it."""
        with self._writing:
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if not lines:
                return
            try:
                self._file.append(b"".join(map(_text, lines)))
            except OSError as error:
                if not self._trouble:
                    _log.error("the access log cannot be written", reason=error.strerror)
                self._trouble = f"the access log cannot be written: {error.strerror}"
            else:
                self._trouble = ""

    def _run(self) -> None:
        while not self._ended.is_set():
            self._has_lines.wait()
            self._ended.wait(INTERVAL)
            self._has_lines.clear()  # before the flush, so that a later line sets it again
            self.flush()


class _Line(NamedTuple):
    """A request that was answered at ``time``, in nanoseconds since 1970."""

    time: int
    remote: str
    fields: Mapping[str, object]
    seconds: float


def _text(line: _Line) -> bytes:
    entry = {
        "time": format_time(line.time),
        "remote": line.remote,
        **line.fields,
        "duration_ms": round(line.seconds * 1000, 3),
    }
    return orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)


class _File:
    """A file that other programs may move away. Any method may raise OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_torn = False  # whether its last line lacks a newline
        self._descriptor = self._open()

    def append(self, lines: bytes) -> None:
        """Append whole lines, to a new file if the old one was moved away."""
        if self._is_moved():
            old, self._descriptor = self._descriptor, self._open()
            os.close(old)
            self._is_torn = False
        data = b"\n" + lines if self._is_torn else lines
        done = 0
        while done < len(data):  # a full disk takes a part, and the next write raises
            done += os.write(self._descriptor, memoryview(data)[done:])
            self._is_torn = data[done - 1 : done] != b"\n"

    def close(self) -> None:
        os.close(self._descriptor)

    def _is_moved(self) -> bool:
        with suppress(FileNotFoundError):
            return not os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        return True

    def _open(self) -> int:
        """Open the file. Refuse one that could block a writer, such as a pipe without a reader."""
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
