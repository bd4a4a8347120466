"""Logs the calls of hooks if ``PLUGIND_TRACE_HOOKS=1`` is set in the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pluggy

from plugind import logs

VARIABLE = "PLUGIND_TRACE_HOOKS"

_RESULT_MAXIMUM = 500  # characters

_log = logs.get("hooks")


def trace_hooks(manager: pluggy.PluginManager) -> None:
    """Log every call of a hook from now on; do nothing unless the variable is set.

    Each entry names the package that is called, and says what its hook returned or raised.
    """
    if os.environ.get(VARIABLE, "") not in ("", "0", "false"):
        manager.add_hookcall_monitoring(_before, _after)


def _before(hook: str, called: Sequence[Any], arguments: Mapping[str, Any]) -> None:
    for one in called:
        given = ",".join(sorted(arguments))
        _log.info("hook called", hook=hook, package=one.plugin_name, arguments=given)


def _after(
    outcome: pluggy.Result[Any], hook: str, called: Sequence[Any], arguments: Mapping[str, Any]
) -> None:
    error = outcome.exception
    for one in called:
        if error is not None:
            text = f"{type(error).__name__}: {error}"
            _log.info("hook raised", hook=hook, package=one.plugin_name, error=text)
        else:
            text = repr(outcome.get_result())[:_RESULT_MAXIMUM]
            _log.info("hook returned", hook=hook, package=one.plugin_name, result=text)
