"""The server role inside another program, such as granian or gunicorn."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from plugind import __version__, logs
from plugind.cli.checking import check, untrusted
from plugind.config.reading import forget_parser
from plugind.config.restart import changed, fixed
from plugind.config.settings import Settings
from plugind.config.tree import raise_any
from plugind.errors import ConfigError, PlugindError, StoreError
from plugind.serve.services import Services
from plugind.types.configured import load_settings, working_folder
from plugind.types.registry import Registry
from plugind.wire import addresses

VARIABLE = "PLUGIND_CONFIG"
"""The variable with the files or folders of the configuration, separated by colons."""

_PATIENCE = 20.0
_LOOK_EVERY = 0.5  # seconds

_log = logs.get("main")


class Hosted:
    """The services of the configuration that the environment names, running until ``close``.

    Raise PlugindError if they cannot start.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._paths = [Path(each) for each in environ.get(VARIABLE, "").split(":") if each]
        # The other variables with this prefix are settings.
        self._environ = {name: text for name, text in environ.items() if name != VARIABLE}
        self._folder = working_folder()
        logs.configure()  # until the configuration is read
        settings, registry = self._read()
        if not settings.server.enabled:
            raise PlugindError(
                f"the configuration enables no server: name one with server {{ enabled = true }} "
                f"in {VARIABLE}, paths with colons between them"
            )
        logs.configure(settings.log_level, json=settings.log_json)
        found = check(settings)
        raise_any(found.mistakes)
        for warning in found.warnings:
            _log.warning("the configuration may not work as meant", warning=str(warning))
        if settings.client.enabled:
            _log.warning("the agent of this machine is not part of this process: run it by itself")
        assert settings.data_dir is not None, "check() finds no mistake only if it is set"
        self._fixed = fixed(settings)
        self._reloading = threading.Lock()
        self.address = _address(settings)
        self.services = _started(settings, registry, settings.data_dir)
        _log.info("serving", version=__version__, pid=os.getpid())

    def reload(self) -> None:
        """Put the current configuration in force; if it has a mistake, change nothing."""
        # The lock covers the reading, too, so that the later of two reloads has the newer tokens.
        with self._reloading:
            self._reload()

    def _reload(self) -> None:
        try:
            settings, _ = self._read()
            raise_any(untrusted(settings))
            self.services.reload(settings)
        except ConfigError as error:
            self.services.refuse_reload("it has mistakes, see the log")
            for mistake in error.mistakes:
                text = "the configuration has a mistake; nothing was changed"
                _log.error(text, mistake=str(mistake))
        except Exception as error:
            self.services.refuse_reload("see the log")
            is_known = isinstance(error, PlugindError)
            _log.error(
                "the configuration could not be put in force",
                reason=str(error),
                exc_info=None if is_known else error,
            )
        else:
            for name, place in changed(self._fixed, settings):
                _log.warning("a changed setting needs a restart", setting=name, place=place)
            _log.info("reloaded")
        finally:
            forget_parser()

    def close(self) -> None:
        """End the services."""
        self.services.close()
        _log.info("stopped")

    def _read(self) -> tuple[Settings, Registry]:
        return load_settings(self._paths, {}, None, self._folder, self._environ)


def _started(settings: Settings, registry: Registry, data_dir: Path) -> Services:
    """Return the services as soon as their store can be opened.

    A host that replaces its workers starts the new one before the old one ends. Raise StoreError
    when the store cannot be opened within _PATIENCE seconds.
    """
    deadline, has_logged = time.monotonic() + _PATIENCE, False
    while True:
        try:
            return Services(settings, registry, data_dir, shared=True)
        except StoreError as error:
            if time.monotonic() > deadline:
                raise
            if not has_logged:
                _log.warning("the store cannot be opened yet; trying again", reason=str(error))
                has_logged = True
        time.sleep(_LOOK_EVERY)


def _address(settings: Settings) -> str:
    """Return the HOST:PORT at which others reach the server, according to the configuration."""
    port = settings.ports.http
    if settings.advertise.http:
        return addresses.with_port(settings.advertise.http, port)
    host = settings.bind_addr
    if addresses.is_unspecified(host):
        host = addresses.of_this_machine(host)
    return addresses.join(host, port)
