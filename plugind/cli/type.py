"""``plugind type``: list and check the plugin types that are installed here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from plugind import logs
from plugind.cli import output
from plugind.cli.commands import Group, examples
from plugind.cli.completion import type_names
from plugind.cli.output import Column
from plugind.cli.type_new import new
from plugind.testing import Verdict, conformance
from plugind.types.configured import load_settings
from plugind.types.registry import ACTIVE, Standing


@click.group("type", cls=Group)
def type_() -> None:
    """List the plugin types that are installed on this machine, check them, write new ones."""


type_.add_command(new)


configured = click.option(
    "--config",
    "paths",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The configuration, as for 'plugind agent'; may be repeated.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@type_.command("list", epilog=examples("plugind type list --all --config /etc/plugind"))
@configured
@click.option(
    "--all", "all_", is_flag=True, help="Also list disabled and broken types, with the reason."
)
@as_json
def list_(paths: tuple[Path, ...], all_: bool, as_json: bool) -> None:
    """List plugin types, and the packages that they come from.

    With --all the list has types that the configuration disables, and broken ones too: a package
    that fails, that was made for another version of plugind, or that has a type whose name another
    one has.
    """
    _, registry = load_settings(paths, {}, None)
    standings = [one for one in registry.standings() if all_ or one.status == ACTIVE]
    if as_json:
        output.print_json([_row(one) for one in standings])
        return
    columns = [
        *(Column("Name"), Column("Title", drop=3), Column("Version", drop=1)),
        Column("Distribution", drop=2),
        *((Column("Status"), Column("Reason")) if all_ else ()),
    ]
    rows = ([str(cell) for cell in _row(one).values()][: len(columns)] for one in standings)
    output.console().print(output.table(columns, rows))


@type_.command(epilog=examples("plugind type check NAME"))
@click.argument("name", shell_complete=type_names)
@configured
@as_json
def check(name: str, paths: tuple[Path, ...], as_json: bool) -> None:
    """Check the plugin type NAME against every rule for plugin types.

    Its prober runs in a process of its own: with the type's settings for --dev in an empty folder,
    or with --config as configured. The exit status is 1 when any rule is broken.
    """
    logs.configure("WARN")  # Hide the log of the agent that runs in the check.
    block = load_settings(paths, {}, None)[0].type_blocks.get(name) if paths else None
    verdicts = conformance(name, block)
    if as_json:
        output.print_json(
            [
                {
                    "Rule": one.rule.name,
                    "Demand": one.rule.demand,
                    "Passed": one.passed,
                    "Shortfalls": list(one.shortfalls),
                    "Note": one.note,
                }
                for one in verdicts
            ]
        )
    else:
        rows = [row for one in verdicts for row in _lines(one)]
        output.console().print(output.table(["Rule", "Result", "Demand, or problem"], rows))
    if not all(one.passed for one in verdicts):
        raise SystemExit(1)


def _lines(verdict: Verdict) -> Iterator[Sequence[str]]:
    name = verdict.rule.name
    if verdict.passed:
        yield name, "not seen" if verdict.note else "kept", verdict.note or verdict.rule.demand
    for text in verdict.shortfalls:
        yield name, "broken", text


def _row(standing: Standing) -> dict[str, Any]:
    return {
        "Name": standing.name,
        "Title": standing.title,
        "Version": standing.origin.version,
        "Distribution": standing.origin.distribution,
        "Status": standing.status,
        "Reason": standing.reason,
    }
