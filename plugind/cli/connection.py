"""The options of every command that sends requests to a server, and the server's plugin types."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from plugind.cli.commands import Connection
from plugind.client import DEFAULT_ADDRESS, Client, Tls
from plugind.client.private import is_open_to_others
from plugind.client.token_file import read_token
from plugind.errors import ClientError, PlugindError, Refused, TokenError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class PluginTypeInfo:
    """A plugin type as the server describes it; the keys of both dicts are roles."""

    name: str
    title: str
    plurals: dict[str, str]
    node_keys: dict[str, str]


_OPTIONS = (
    click.option(
        "--ca-file",
        cls=Connection,
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="File with the certificates to verify an https server with.  [NOMAD_CACERT]",
    ),
    click.option(
        "--client-key",
        cls=Connection,
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="File with the certificate's private key, without a passphrase.  [NOMAD_CLIENT_KEY]",
    ),
    click.option(
        "--client-cert",
        cls=Connection,
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="File with the certificate to show an https server that asks for one.  "
        "[NOMAD_CLIENT_CERT]",
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
    """Give a command the connection options; it gets a client as the argument ``client``."""

    @wraps(command)
    def with_client(
        address: str | None,
        token: str | None,
        token_file: Path | None,
        ca_file: Path | None,
        client_cert: Path | None,
        client_key: Path | None,
        **kw: Any,
    ) -> Any:
        address = address or _variable("PLUGIND_ADDR", "NOMAD_ADDR") or DEFAULT_ADDRESS
        token = _token(token, token_file)
        tls = _tls(ca_file, client_cert, client_key)
        with Client(address, token=token, tls=tls) as client:
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
    """Return the token to send, or "" for none.

    Options override variables, and plugind's variables override Nomad's. Raise PlugindError if both
    options or both of plugind's variables are given, and TokenError for a file that cannot be used.
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

    Raise TokenError when it cannot be read, or when any user of the machine could read or change
    it.
    """
    token = read_token(source, file)
    if is_open_to_others(file):
        raise TokenError(f"{source} {file} is open to other users: chmod o=,g-w {file}")
    return token


def _tls(ca_file: Path | None, cert: Path | None, key: Path | None) -> Tls:
    """Return the files for https servers; each option overrides its own Nomad variable.

    Raise PlugindError for a certificate without its key, a key without its certificate, and a key
    that any user of the machine could read or change.
    """
    source = "--client-key" if key else "NOMAD_CLIENT_KEY"
    ca_file = ca_file or _path("NOMAD_CACERT")
    cert = cert or _path("NOMAD_CLIENT_CERT")
    key = key or _path("NOMAD_CLIENT_KEY")
    if (cert is None) != (key is None):
        given, other = ("cert", "key") if cert else ("key", "cert")
        raise PlugindError(
            f"a client certificate needs its key: --client-{given} (NOMAD_CLIENT_{given.upper()}) "
            f"is given without --client-{other} (NOMAD_CLIENT_{other.upper()})"
        )
    if key and is_open_to_others(key):
        raise PlugindError(f"{source} {key} is open to other users: chmod o=,g-w {key}")
    return Tls(ca_file, cert, key)


def _path(variable: str) -> Path | None:
    """Return the path in an environment variable, or None when it is unset or empty."""
    text = _variable(variable)
    return Path(text) if text else None


def _variable(*names: str) -> str:
    """Return the first of the environment variables that is set and not empty; else ""."""
    return next((os.environ[name] for name in names if os.environ.get(name)), "")
