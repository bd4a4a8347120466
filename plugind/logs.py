"""Logging: one line an event, on standard error, for people or (``log_json``) for programs."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog

LEVELS = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
}


class _Lossy:
    """A stream that drops what it cannot write: on a full disk, into a pipe that nobody reads.

    Whoever logs goes on; a line is worth less than the work of the thread that writes it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def configure(level: str = "INFO", *, json: bool = False) -> None:
    """Sets how this process logs, at or above a level of LEVELS; libraries' warnings included."""
    stamp: list[structlog.typing.Processor] = [
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
    stream = cast(TextIO, _Lossy(sys.stderr))
    logging.basicConfig(
        stream=stream,
        level=max(LEVELS[level], logging.WARNING),
        format="%(message)s",
        force=True,
    )
    structlog.configure(
        processors=[*stamp, structlog.processors.format_exc_info, render],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def get(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry ``name``, the part of plugind they come from."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(component=name)
    return logger
