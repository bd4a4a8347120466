"""``plugind agent``: run the server, the agent of this machine (role client), or both."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path

import click

from plugind import logs
from plugind.cli.checking import check, untrusted
from plugind.cli.commands import Command, examples
from plugind.cli.configured import configuration_options, dev_folder
from plugind.cli.roles import Roles
from plugind.cli.signals import Signals
from plugind.config.reading import forget_parser
from plugind.config.settings import Settings
from plugind.config.tree import raise_any
from plugind.errors import ConfigError, PlugindError
from plugind.types.configured import load_settings, working_folder
from plugind.types.registry import BROKEN, Registry

_SEE_LOG = "see the log"  # Health has only one line, but the log has every mistake.

RELOAD_REST = 4
"""The pause after a reload, as a multiple of the time that the reload took, so that a stream of
SIGHUPs cannot take the processor from requests. Signals during the pause count as one."""

RELOAD_REST_MAXIMUM = 10.0  # seconds

_log = logs.get("main")


@click.command(
    cls=Command,
    epilog=examples(
        "plugind agent --dev                   a server and an agent, to try things out",
        "plugind agent --config /etc/plugind   the roles that the files there enable",
        "plugind agent --config /etc/plugind --workers 4   four processes answer requests",
    ),
)
@configuration_options
@click.option(
    "--dev",
    is_flag=True,
    help="Run server and client in one, with all data in a temporary folder, removed at the end.",
)
def agent(paths: tuple[Path, ...], dev: bool, flags: Mapping[str, str]) -> None:
    """Run the server, the client (the agent that watches this machine's plugins), or both.

    SIGTERM and SIGINT end it, after requests in work are done, within 15 seconds. SIGHUP reads the
    configuration again: declarations, plugin types and their settings take effect, all else at the
    next start. With more than one worker this is the parent of the processes that serve.
    """
    signals = Signals()
    folder = working_folder()
    with ExitStack() as until_end:
        until_end.callback(signals.close)
        temporary = until_end.enter_context(dev_folder()) if dev else None

        def read() -> tuple[Settings, Registry]:
            return load_settings(paths, flags, temporary, folder)

        settings, registry = read()
        logs.configure(settings.log_level, json=settings.log_json)
        # The output of packages, and tracebacks of their threads, must not steer a terminal.
        until_end.enter_context(redirect_stdout(logs.SafeStream()))
        until_end.enter_context(redirect_stderr(logs.SafeStream()))
        for one in registry.unused:
            if one.status == BROKEN:
                _log.warning("a package cannot be used", name=one.name, reason=str(one))
        found = check(settings)
        raise_any(found.mistakes)
        for warning in found.warnings:
            _log.warning("the configuration may not work as meant", warning=str(warning))
        roles = Roles(settings, registry)
        signals.last = roles.kill
        roles.start()
        until_end.callback(roles.stop)
        while signals.wait() == signal.SIGHUP:
            began = time.monotonic()
            _reload(roles, read)
            took = time.monotonic() - began
            signals.rest(min(RELOAD_REST * took, RELOAD_REST_MAXIMUM))
        _log.info("stopping")
    _log.info("stopped")


def _reload(roles: Roles, read: Callable[[], tuple[Settings, Registry]]) -> None:
    """Put the current configuration in force; a configuration with a mistake changes nothing."""
    try:
        settings, registry = read()
        raise_any(untrusted(settings))
        roles.reload(settings, registry)
    except ConfigError as error:
        count = len(error.mistakes)
        # Before logging it, so that anyone who reads the log line also finds it in health.
        roles.refuse_reload(f"{count} mistake{'s' * (count > 1)}, {_SEE_LOG}")
        for mistake in error.mistakes:
            _log.error("the configuration has a mistake; nothing was changed", mistake=str(mistake))
    except PlugindError as error:
        roles.refuse_reload(_SEE_LOG)
        _log.error("the configuration could not be put in force", reason=str(error))
    except Exception as error:  # A bug in plugind or in a plugin type must not end the roles.
        roles.refuse_reload(_SEE_LOG)
        _log.error("the configuration could not be read", exc_info=error)
    else:
        _log.info("reloaded")
    finally:
        forget_parser()
