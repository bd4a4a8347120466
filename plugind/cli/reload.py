"""``plugind reload``: has a running process read its configuration anew, if that has no mistake."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import click

from plugind.cli.configured import check_acl, configuration_options
from plugind.cli.roles import enabled_roles
from plugind.cli.running import left_behind, running
from plugind.configured import load_settings
from plugind.errors import PlugindError


@click.command()
@configuration_options
def reload(paths: tuple[Path, ...], flags: Mapping[str, str]) -> None:
    """Check the configuration, policies and tokens, then have the running process read them anew.

    Give what the process was started with. The process is found by its data_dir, and told by
    SIGHUP. All mistakes are told, the exit status is 1 then, and the process is left alone.
    """
    settings, registry = load_settings(paths, flags, None)
    check_acl(settings, registry)
    roles, data_dir = enabled_roles(settings)
    found = {role: pid for role in roles if (pid := running(data_dir, role)) is not None}
    if not found:
        raise PlugindError(f"no plugind runs on data_dir {data_dir}{_remains(data_dir, roles)}")
    for pid in sorted(set(found.values())):
        _tell(pid)
        told = " and ".join(role for role, each in found.items() if each == pid)
        click.echo(
            f"Process {pid} ({told}) reads the configuration anew; "
            "its log and /v1/agent/health say how it went."
        )


def _remains(data_dir: Path, roles: tuple[str, ...]) -> str:
    for role in roles:
        if pid := left_behind(data_dir, role):
            return f"; {role}.pid was left behind by process {pid}, which ended"
    return ""


def _tell(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        text = f"process {pid} cannot be told: {error.strerror}; try as its user, or as root"
        raise PlugindError(text) from error
