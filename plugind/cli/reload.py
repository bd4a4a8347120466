"""``plugind reload``: make a running process read its configuration again if it has no mistakes."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import click

from plugind.cli import terminal
from plugind.cli.checking import check
from plugind.cli.commands import Command, examples
from plugind.cli.configured import check_acl, configuration_options
from plugind.cli.running import left_behind, running, started_with
from plugind.config.restart import changed
from plugind.config.settings import SERVER, Settings
from plugind.config.tree import raise_any
from plugind.errors import PlugindError
from plugind.types.configured import load_settings


@click.command(cls=Command, epilog=examples("plugind reload --config /etc/plugind"))
@configuration_options
def reload(paths: tuple[Path, ...], flags: Mapping[str, str]) -> None:
    """Check the configuration, policies and tokens, then make the running process read them again.

    Give the options that the process was started with. The process is found by its data_dir, and
    gets SIGHUP. All mistakes are printed, the exit status is 1 then, and the process is left alone.
    Changed settings that only a restart puts in force are named.
    """
    settings, registry = load_settings(paths, flags, None)
    raise_any(check(settings).mistakes)
    check_acl(settings, registry)
    assert settings.data_dir is not None, "check() finds no mistake only if it is set"
    roles, data_dir = settings.roles, settings.data_dir
    found = {role: pid for role in roles if (pid := running(data_dir, role)) is not None}
    if not found:
        left = [
            f"; {role}.pid was left behind by process {ended}, which ended"
            for role in roles
            if (ended := left_behind(data_dir, role))
        ]
        raise PlugindError(f"no plugind runs on data_dir {data_dir}{''.join(left[:1])}")
    restart = _needs_restart(settings, data_dir, tuple(found))
    for pid in sorted(set(found.values())):
        try:
            os.kill(pid, signal.SIGHUP)
        except OSError as error:
            reason = f"{error.strerror}; try as its user, or as root"
            raise PlugindError(f"cannot send SIGHUP to process {pid}: {reason}") from error
        roles_of_it = " and ".join(role for role, each in found.items() if each == pid)
        terminal.echo(
            f"Process {pid} ({roles_of_it}) reads the configuration again; "
            "its log and /v1/agent/health show the result."
        )
    for name, place in restart:
        terminal.echo(f"Changed, but in force only after a restart: {name} ({place})")


def _needs_restart(
    settings: Settings, data_dir: Path, roles: tuple[str, ...]
) -> list[tuple[str, str]]:
    """Return the name and place of each changed setting that a running process cannot reload.

    Raise ConfigError if acl.enabled has changed: a server then refuses the whole reload.
    """
    found = {each for role in roles for each in changed(started_with(data_dir, role), settings)}
    if SERVER in roles and "acl.enabled" in dict(found):
        text = "acl.enabled is read at start only: restart the server"
        raise_any([settings.place("acl", "enabled").mistake(text)])
    return sorted(found)
