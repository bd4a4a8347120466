"""``plugind type``: which plugin types are installed here, and whether they are sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from plugind.cli import output
from plugind.cli.completion import type_names
from plugind.cli.type_new import new
from plugind.configured import load_settings
from plugind.registry import ACTIVE, Standing
from plugind.testing import Verdict, conformance


@click.group("type")
def type_() -> None:
    """Look at the plugin types that are installed on this machine, check them, write new ones."""


type_.add_command(new)


configured = click.option(
    "--config",
    "paths",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The configuration, as for 'plugind agent'.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@type_.command("list")
@configured
@click.option("--all", "all_", is_flag=True, help="Also what is disabled or broken, and why.")
@as_json
def list_(paths: tuple[Path, ...], all_: bool, as_json: bool) -> None:
    """List plugin types, and the distributions that bring them.

    What cannot be used is broken: a package that fails, that was made for another version of
    plugind, or that brings a type whose name another one has too.
    """
    _, registry = load_settings(paths, {}, None)
    standings = [one for one in registry.standings() if all_ or one.status == ACTIVE]
    if as_json:
        output.print_json([_row(one) for one in standings])
        return
    header = ["Name", "Title", "Version", "Distribution", *(["Status", "Reason"] if all_ else [])]
    rows = ([str(cell) for cell in _row(one).values()][: len(header)] for one in standings)
    output.console().print(output.table(header, rows))


@type_.command()
@click.argument("name", shell_complete=type_names)
@configured
@as_json
def check(name: str, paths: tuple[Path, ...], as_json: bool) -> None:
    """Hold a plugin type to every rule that there is for plugin types.

    Its prober is tried out in a process of its own, with the type's settings as they are for --dev
    in an empty folder, or as configured. The exit status is 1 when any rule is broken.
    """
    block = load_settings(paths, {}, None)[0].type_blocks.get(name) if paths else None
    verdicts = conformance(name, block)
    if as_json:
        output.print_json([_verdict_row(one) for one in verdicts])
    else:
        rows = [row for one in verdicts for row in _lines(one)]
        output.console().print(output.table(["Rule", "Result", "Demand, or what is wrong"], rows))
    if not all(one.passed for one in verdicts):
        raise SystemExit(1)


def _lines(verdict: Verdict) -> Iterator[Sequence[str]]:
    name = verdict.rule.name
    if verdict.passed:
        yield name, "not seen" if verdict.note else "kept", verdict.note or verdict.rule.demand
    for text in verdict.shortfalls:
        yield name, "broken", text


def _verdict_row(verdict: Verdict) -> dict[str, Any]:
    return {
        "Rule": verdict.rule.name,
        "Demand": verdict.rule.demand,
        "Passed": verdict.passed,
        "Shortfalls": list(verdict.shortfalls),
        "Note": verdict.note,
    }


def _row(standing: Standing) -> dict[str, Any]:
    return {
        "Name": standing.name,
        "Title": standing.title,
        "Version": standing.origin.version,
        "Distribution": standing.origin.distribution,
        "Status": standing.status,
        "Reason": standing.reason,
    }
