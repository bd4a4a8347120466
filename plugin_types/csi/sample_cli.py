"""The commands ``plugind csi-sample``, a driver to try things with, and ``plugind csi-tell``."""

from __future__ import annotations

import os
import socket
from pkgutil import resolve_name

import click

from plugin_types.csi.behaviour import COMMANDS, Behaviour, parse_delay, parse_pairs
from plugin_types.csi.control import send
from plugin_types.csi.roles import CONTROLLER, NODE, ROLES

_SOCKET = click.option(
    "--socket",
    "path",
    required=True,
    metavar="PATH",
    type=click.Path(),
    help="The driver's socket. Its plugin's ID will be the file's name without .sock, or the "
    "folder's where the file is csi.sock.",
)


@click.command(
    "csi-sample",
    short_help="Run a small real CSI driver, to try things out.",
    epilog="Example: plugind csi-sample --socket /tmp/csi/disks.sock --topology zone=z1",
)
@_SOCKET
@click.option("--name", default="sample.csi.plugind", show_default=True, help="Its own name.")
@click.option("--version", default="1.0.0", show_default=True, help="Its version.")
@click.option("--no-controller", is_flag=True, help="Have no Controller service.")
@click.option("--no-node", is_flag=True, help="Have no Node service.")
@click.option("--node-id", default=socket.gethostname, help="The node's ID.  [default: hostname]")
@click.option("--max-volumes", type=click.IntRange(0), default=0, help="Volumes a node can have.")
@click.option("--topology", multiple=True, metavar="KEY=VALUE", help="Where it is; repeatable.")
@click.option("--fail", default="", metavar="TEXT", help="Fail every Probe with this text.")
@click.option("--not-ready", is_flag=True, help="Say that it is not ready.")
@click.option("--slow", default="0s", metavar="DURATION", help="Wait before every answer.")
@click.option("--hang", is_flag=True, help="Give no answer.")
@click.option("--exit-with-stdin", is_flag=True, help="End when standard input does.")
def csi_sample(
    path: str,
    name: str,
    version: str,
    no_controller: bool,
    no_node: bool,
    node_id: str,
    max_volumes: int,
    topology: tuple[str, ...],
    fail: str,
    not_ready: bool,
    slow: str,
    hang: bool,
    exit_with_stdin: bool,
) -> None:
    """Run a small real CSI driver, to try things out.

    It has no volumes and serves until SIGTERM or Ctrl-C. While it runs, "plugind csi-tell" makes it
    fail, hang or behave in other ways.
    """
    behaviour = Behaviour(
        name=name,
        version=version,
        node_id=node_id,
        max_volumes=max_volumes,
        roles=frozenset(ROLES)
        - ({CONTROLLER} if no_controller else set())
        - ({NODE} if no_node else set()),
        topology=parse_pairs(topology),
        failure=fail,
        ready=not not_ready,
        delay=parse_delay(slow),
        hang=hang,
    )
    # By name, because every plugind command imports this module, and gRPC is slow to import.
    serve = resolve_name("plugin_types.csi.sample:serve")
    serve(os.path.abspath(path), behaviour, exit_with_stdin=exit_with_stdin)


@click.command(
    "csi-tell",
    short_help="Make a running csi-sample fail, hang or behave in other ways.",
    context_settings={"ignore_unknown_options": True},
    help=f"""Make a running csi-sample fail, hang or behave in other ways.

    \b
    {COMMANDS.replace(chr(10), chr(10) + "    ")}""",
    epilog='Example: plugind csi-tell --socket /tmp/csi/disks.sock fail "disk on fire"',
)
@_SOCKET
@click.argument("command", nargs=-1, required=True)
def csi_command(path: str, command: tuple[str, ...]) -> None:
    send(os.path.abspath(path), " ".join(command))
