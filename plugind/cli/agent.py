"""``plugind agent``: runs the server, the agent of this machine (role client), or both."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import click

from plugind import logs
from plugind.cli.configured import configuration_options
from plugind.cli.roles import Roles
from plugind.config.settings import Settings
from plugind.configured import load_settings, working_folder
from plugind.errors import ConfigError, PlugindError
from plugind.registry import Registry

_SEE_LOG = "see the log"  # for health is told to strangers, too

_log = logs.get("main")


@click.command()
@configuration_options
@click.option(
    "--dev",
    is_flag=True,
    help="Server and client in one, with everything in a temporary folder that goes at the end.",
)
def agent(paths: tuple[Path, ...], dev: bool, flags: Mapping[str, str]) -> None:
    """Run the server, the client (the agent that watches this machine's plugins), or both.

    SIGTERM and SIGINT end it, after what is in flight is done. SIGHUP reads the configuration anew:
    declarations, plugin types and their settings take effect, all else at the next start.
    """
    signals = _signals()
    folder = working_folder()
    with ExitStack() as until_end:
        dev_folder = None
        if dev:
            temporary = tempfile.TemporaryDirectory(
                prefix="plugind-dev-", ignore_cleanup_errors=True
            )
            dev_folder = Path(until_end.enter_context(temporary))

        def read() -> tuple[Settings, Registry]:
            return load_settings(paths, flags, dev_folder, folder)

        settings, registry = read()
        logs.configure(settings.log_level, json=settings.log_json)
        for name, problem in registry.problems.items():
            _log.warning("a plugin type is not available", name=name, reason=problem)
        roles = Roles(settings, registry)
        roles.start()
        until_end.callback(roles.stop)
        while next(signals) == signal.SIGHUP:
            _reload(roles, read)
        _log.info("stopping")
    _log.info("stopped")


def _signals() -> Iterator[int]:
    """The signals that come, in order, from now on.

    They come through a pipe, for the kernel may hand a signal to any thread, which does not wake a
    main thread that waits for a lock. The handlers are our own before anything else starts, for
    SIGINT may have been ignored by our parent.
    """
    receiving, sending = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(receiving, True)
    signal.set_wakeup_fd(sending, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: None)
    return iter(lambda: os.read(receiving, 1)[0], None)


def _reload(roles: Roles, read: Callable[[], tuple[Settings, Registry]]) -> None:
    """Puts the configuration in force as it stands now; one with a mistake changes nothing."""
    try:
        roles.reload(*read())
    except ConfigError as error:
        for mistake in error.mistakes:
            _log.error(
                "the configuration has a mistake; what was in force stays", mistake=str(mistake)
            )
        count = len(error.mistakes)
        roles.refuse_reload(f"{count} mistake{'s' * (count > 1)}, {_SEE_LOG}")
    except PlugindError as error:
        _log.error("the configuration could not be put in force", reason=str(error))
        roles.refuse_reload(_SEE_LOG)
    except Exception as error:  # of plugind's own or of a type's: what runs goes on
        _log.error("the configuration could not be read", exc_info=error)
        roles.refuse_reload(_SEE_LOG)
    else:
        _log.info("reloaded")
