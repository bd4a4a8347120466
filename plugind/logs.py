"""Logging: one line an event, on standard error, for people or (``log_json``) for programs."""

from __future__ import annotations

import logging
import sys

import structlog

LEVELS = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
}


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
    logging.basicConfig(
        stream=sys.stderr,
        level=max(LEVELS[level], logging.WARNING),
        format="%(message)s",
        force=True,
    )
    structlog.configure(
        processors=[*stamp, structlog.processors.format_exc_info, render],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def get(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry ``name``, the part of plugind they come from."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(component=name)
    return logger
