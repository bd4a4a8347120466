"""Logging: one line per event on standard error, for people or (``log_json``) for programs."""

from __future__ import annotations

import atexit
import io
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

import structlog

from plugind.printable import escaped, json_line, lines
from plugind.tally import Tally

LEVELS = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
}


AT_ONCE = 4_096
"""Bytes that a pipe accepts atomically, even if others write to it (pipe(7), PIPE_BUF)."""

written = Tally(known=[(level.lower(),) for level in LEVELS])
"""The number of lines that this process has logged, by level."""

_COUNTED_AS = {"DEBUG": "debug", "INFO": "info", "WARNING": "warn", "WARN": "warn"}

_block = threading.local()
"""``lines`` are those that the thread has logged so far in a block of ``together``."""


def _count(level: str) -> None:
    """Count a line by its level, whose name may be in upper or lower case."""
    written.add((_COUNTED_AS.get(level.upper(), "error"),))


class _OneLine(logging.Formatter):
    """A formatter that writes a library's record, including the traceback, as one line without
    control characters.
    """

    def format(self, record: logging.LogRecord) -> str:
        _count(record.levelname)
        return escaped(super().format(record))


class SafeStream(io.TextIOWrapper):
    """Standard error for the code of packages, made safe: nothing that they print can forge a log
    line or control a terminal.

    Newlines are kept, and characters that cannot be encoded are written as escapes.
    """

    def __init__(self) -> None:
        stderr = os.fdopen(2, "wb", buffering=0, closefd=False)
        super().__init__(stderr, "utf-8", "backslashreplace", write_through=True)

    def write(self, text: str) -> int:
        super().write(lines(text))
        return len(text)


class _Lossy:
    """A stream that drops text that it cannot write, for example on a full disk or into a pipe
    without a reader.

    The thread that logs continues: its work matters more than the line.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if (lines := getattr(_block, "lines", None)) is not None:
            lines.append(text)
            return
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


_lossy = _Lossy(sys.stderr)


def _give_up_unwritten(stream: TextIO) -> None:
    """Discard the text that a stream could not write, at the end of the process.

    Otherwise Python tries to write it once more and, if that fails, exits with status 120.
    """
    try:
        stream.flush()
    except OSError:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
    except ValueError:  # it is closed
        pass


@contextmanager
def together() -> Iterator[None]:
    """Write the lines that the thread logs in the block when the block ends, in few system calls.

    A thread releases the interpreter lock for each system call, and then has to wait for it.
    """
    outer = getattr(_block, "lines", None)
    waiting: list[str] = []
    try:
        _block.lines = waiting
        yield
    finally:
        _block.lines = outer
        text = ""
        for line in waiting:
            if text and len((text + line).encode()) > AT_ONCE:
                _lossy.write(text)
                text = ""
            text += line
        _lossy.write(text)


def configure(level: str = "INFO", *, json: bool = False, process: str = "") -> None:
    """Set up the logging of this process, including warnings of libraries.

    ``level`` is the lowest level that is logged, one of LEVELS. ``process`` names the process in
    each line if it is one of several.
    """

    def name_process(logger: object, name: str, event: Any) -> Any:
        if process:
            event["process"] = process
        return event

    stamp: list[structlog.typing.Processor] = [
        name_process,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(sort_keys=True)
        if json
        else structlog.processors.LogfmtRenderer(
            key_order=["timestamp", "level", "event"], bool_as_flag=False
        )
    )

    def make_safe(logger: object, name: str, line: Any) -> str:
        _count(name)
        return json_line(line) if json else escaped(line)

    global _lossy
    _lossy = _Lossy(sys.stderr)
    stream = cast(TextIO, _lossy)
    atexit.unregister(_give_up_unwritten)
    atexit.register(_give_up_unwritten, sys.stderr)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_OneLine("%(message)s"))
    logging.basicConfig(handlers=[handler], level=max(LEVELS[level], logging.WARNING), force=True)
    structlog.configure(
        processors=[
            *stamp,
            structlog.processors.format_exc_info,
            render,
            make_safe,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def get(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return a logger whose lines have ``name`` as the part of plugind that they come from."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(component=name)
    return logger
