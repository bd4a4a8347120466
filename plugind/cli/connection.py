"""The options of every command that sends requests to a server, and the server's plugin types."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from plugind.cli.commands import Connection
from plugind.client import DEFAULT_ADDRESS, Client
from plugind.client.token_file import read_token
from plugind.errors import ClientError, PlugindError, Refused, TokenError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class PluginTypeInfo:
    """A plugin type as the server describes it; plurals and node keys are by role."""

    name: str
    title: str
    plurals: dict[str, str]
    node_keys: dict[str, str]


_OPTIONS = (
    click.option(
        "--ca-file",
        cls=Connection,
        metavar="FILE",
        help="File with the certificates to verify an https server with.  [NOMAD_CACERT]",
    ),
    click.option(
        "--token-file",
        cls=Connection,
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="File that holds the ACL token and nothing else.  [PLUGIND_TOKEN_FILE]",
    ),
    click.option(
        "--token",
        cls=Connection,
        help="The ACL token. Every user of this machine sees it in the list of processes, as "
        "long as the command runs: better use a file or a variable.  "
        "[PLUGIND_TOKEN, NOMAD_TOKEN]",
    ),
    click.option(
        "--address",
        cls=Connection,
        metavar="URL",
        help=f"The server.  [PLUGIND_ADDR, NOMAD_ADDR; default: {DEFAULT_ADDRESS}]",
    ),
)


def connected(command: F) -> F:
    """Give a command the options that say where the server is, as the argument ``client``."""

    @wraps(command)
    def with_client(
        address: str | None,
        token: str | None,
        token_file: Path | None,
        ca_file: str | None,
        **kw: Any,
    ) -> Any:
        address = address or _variable("PLUGIND_ADDR", "NOMAD_ADDR") or DEFAULT_ADDRESS
        token = _token(token, token_file)
        ca_file = ca_file or _variable("NOMAD_CACERT") or None
        with Client(address, token=token, ca_file=ca_file) as client:
            return command(client=client, **kw)

    for option in _OPTIONS:
        option(with_client)
    return with_client  # type: ignore[return-value]


def plugin_types(client: Client) -> list[PluginTypeInfo]:
    """Return the plugin types of the server. Raise ClientError."""
    try:
        return [
            PluginTypeInfo(row["Name"], row["Title"], row["Roles"], row["NodeKeys"])
            for row in client.plugin_types().value
        ]
    except (KeyError, TypeError) as error:
        raise ClientError(
            f"{client.address} did not answer as a plugind does; is that the right address?"
        ) from error
    except Refused as error:
        if error.status != 404:
            raise
        raise ClientError(
            f"{client.address} has no list of plugin types; is it a Nomad server, not plugind?"
        ) from error


def _token(token: str | None, file: Path | None) -> str:
    """Return the token to send, "" for none.

    Options win over variables, plugind's variables over Nomad's. Raise PlugindError where two
    options or two of plugind's variables contradict each other, and TokenError for a file that
    cannot be used.
    """
    if token and file:
        raise PlugindError("give --token or --token-file, not both")
    if file:
        return _private_token("--token-file", file)
    if token:
        return token
    token, name = _variable("PLUGIND_TOKEN"), _variable("PLUGIND_TOKEN_FILE")
    if token and name:
        raise PlugindError("set PLUGIND_TOKEN or PLUGIND_TOKEN_FILE, not both")
    if name:
        return _private_token("PLUGIND_TOKEN_FILE", Path(name))
    return token or _variable("NOMAD_TOKEN")


def _private_token(source: str, file: Path) -> str:
    """Return the token in the file that ``source`` names.

    Raise TokenError, also for a file that every user of the machine could read or change.
    """
    token = read_token(source, file)
    with suppress(OSError):  # A pipe, such as a shell's <(...), may be gone after it was read.
        mode = file.stat().st_mode
        if stat.S_ISREG(mode) and mode & (stat.S_IRWXO | stat.S_IWGRP):
            raise TokenError(f"{source} {file} is open to other users: chmod o=,g-w {file}")
    return token


def _variable(*names: str) -> str:
    """Return the first of the environment variables that is set and not empty."""
    return next((os.environ[name] for name in names if os.environ.get(name)), "")
