"""The options of every command that asks a server, and the server's plugin types."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from plugind.client import DEFAULT_ADDRESS, Client
from plugind.errors import ClientError, Refused

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class PluginTypeInfo:
    """A plugin type as the server describes it: plurals and node keys are by role."""

    name: str
    title: str
    plurals: dict[str, str]
    node_keys: dict[str, str]


def connected(command: F) -> F:
    """Gives a command the options that say where the server is, as the argument ``client``."""

    def with_client(address: str | None, token: str | None, ca_file: str | None, **kw: Any) -> Any:
        address = address or _variable("PLUGIND_ADDR", "NOMAD_ADDR") or DEFAULT_ADDRESS
        token = token or _variable("PLUGIND_TOKEN", "NOMAD_TOKEN")
        ca_file = ca_file or _variable("NOMAD_CACERT") or None
        with Client(address, token=token, ca_file=ca_file) as client:
            return command(client=client, **kw)

    with_client.__name__ = command.__name__
    with_client.__doc__ = command.__doc__
    with_client.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for option in (
        click.option("--ca-file", metavar="FILE", help="Certificates that an https server has."),
        click.option("--token", help="The ACL token.  [PLUGIND_TOKEN, NOMAD_TOKEN]"),
        click.option(
            "--address",
            metavar="URL",
            help=f"The server.  [PLUGIND_ADDR, NOMAD_ADDR; default: {DEFAULT_ADDRESS}]",
        ),
    ):
        option(with_client)
    return with_client  # type: ignore[return-value]


def plugin_types(client: Client) -> list[PluginTypeInfo]:
    """The plugin types that the server has. Raises ClientError."""
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
            f"{client.address} has no list of plugin types; is a Nomad there, not a plugind?"
        ) from error


def _variable(*names: str) -> str:
    """The first of the environment variables that is set to something."""
    return next((os.environ[name] for name in names if os.environ.get(name)), "")
