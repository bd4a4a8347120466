"""``plugind node forget``: forget one node, or all nodes that its options select."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import click

from plugind.cli import output, terminal
from plugind.cli.finding import Stubs, check_datacenter, find_node
from plugind.cli.output import Column, FittedTable
from plugind.client import Client
from plugind.errors import ClientError, Refused
from plugind.model import DOWN
from plugind.model.times import SECOND, parse_duration
from plugind.wire.texts import is_node_id

_SHORTEST = 4
"""The least number of characters of an ID that select a node."""

_DAY = 24 * 3600.0
_DAYS = re.compile(r"(\d{1,5})d", re.ASCII)


def age(text: str) -> float:
    """Return the seconds of a duration that may begin with days, such as 7d or 1d12h.

    Raise BadParameter for any other text.
    """
    days = _DAYS.match(text)
    rest = text[days.end() :] if days else text
    try:
        seconds = parse_duration(rest if rest or not days else "0") / SECOND
    except ValueError:
        seconds = -1.0
    if seconds < 0:
        raise click.BadParameter(f"{text!r} is not a duration; use one such as 7d, 12h or 1d12h")
    return seconds + (int(days[1]) * _DAY if days else 0)


@dataclass(frozen=True, slots=True)
class Choice:
    """The nodes to forget: those down for at least ``older_than`` seconds, those in a datacenter.

    An option that is not given does not restrict the selection.
    """

    down: bool
    older_than: float | None
    datacenter: str | None

    def of(self, client: Client) -> Stubs:
        """Return the stubs of the nodes that are selected now."""
        stubs = client.nodes().value
        if self.datacenter is not None:
            check_datacenter(stubs, self.datacenter)
        if self.older_than is not None:
            latest = int(time.time() - self.older_than)
            stubs = client.nodes(filter=f"StatusUpdatedAt <= {latest}").value
        return [
            stub
            for stub in stubs
            if (stub["Status"] == DOWN or not self.down)
            and self.datacenter in (None, stub["Datacenter"])
        ]


def forget_one(client: Client, name: str, *, dry_run: bool) -> None:
    """Forget the node of that name or ID. Raise ClientError when none or several match.

    A whole ID that is not listed is sent as well, because the server may still keep its secret.
    """
    try:
        node_id = find_node(client.nodes().value, name, shortest=_SHORTEST)
    except ClientError as error:
        if dry_run or not is_node_id(name):
            raise
        try:
            client.forget_node(name)
        except Refused as refused:
            raise (error if refused.status == 404 else refused) from None
        terminal.echo(f"Node {name} is not listed; its ID is free for another agent.")
        return
    if dry_run:
        terminal.echo(f"Would forget node {node_id}.")
        return
    client.forget_node(node_id)
    terminal.echo(f"Forgot node {node_id}.")


def forget_many(client: Client, choice: Choice, *, dry_run: bool, ask: bool) -> None:
    """Show the selected nodes and forget them; with ``ask``, only after a confirmation."""
    stubs = choice.of(client)
    if not stubs:
        terminal.echo("No such nodes.")
        return
    output.console().print(nodes_table(stubs))
    number = _number(stubs)
    if dry_run:
        terminal.echo(f"Would forget {number}.")
        return
    if ask:
        click.confirm(f"Forget {number} and all that they reported?", abort=True)
        # The confirmation may have taken long: nodes that came back meanwhile are kept.
        still = {stub["ID"] for stub in choice.of(client)}
        stubs = [stub for stub in stubs if stub["ID"] in still]
    for done, stub in enumerate(stubs):
        try:
            client.forget_node(stub["ID"])
        except ClientError as error:
            if isinstance(error, Refused) and error.status == 404:
                continue  # It left meanwhile.
            raise ClientError(f"forgot {done} of {_number(stubs)}, then: {error}") from error
    terminal.echo(f"Forgot {_number(stubs)}.")


def nodes_table(stubs: Stubs) -> FittedTable:
    """Return a table of nodes."""
    columns = [
        *(Column("ID"), Column("Name"), Column("Datacenter", drop=2)),
        *(Column("Version", drop=1), Column("Status"), Column("Description")),
    ]
    rows = [
        [
            *(stub["ID"][:8], stub["Name"], stub["Datacenter"]),
            *(stub["Version"], stub["Status"], stub["StatusDescription"]),
        ]
        for stub in stubs
    ]
    return output.table(columns, rows)


def _number(stubs: Stubs) -> str:
    return f"{len(stubs):,} node{'' if len(stubs) == 1 else 's'}"
