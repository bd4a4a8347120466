"""``plugind status``: all that is wrong now, since when and why, and the last hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from rich.console import RenderableType

from plugind.cli import output, terminal
from plugind.cli.commands import examples
from plugind.cli.connection import connected
from plugind.cli.history import AS_JSON, history_table, say_more
from plugind.cli.output import Column
from plugind.cli.plugin_check import CheckCommand
from plugind.client import Answer, Client

Values = Mapping[str, Any]

CHANGES_SHOWN = 8
_SINCE = "1h"
_STATUSES = {"ok": 0, "warning": 1, "critical": 2}


class StatusCommand(CheckCommand):
    """A command that prints every failure as one line on standard error; it means unknown."""

    def say(self, reason: str) -> None:
        terminal.echo(f"Error: {reason}", err=True)


@click.command(
    cls=StatusCommand,
    epilog=examples(
        "plugind status               all that is wrong now, and what changed in the last hour",
        "plugind status >/dev/null    only the exit status",
    ),
)
@AS_JSON
@connected
def status(client: Client, as_json: bool) -> None:
    """Show all that is wrong now: where, since when and why, and the changes of the last hour.

    A node that is down is one entry, whatever ran on it, and so is a plugin that is unhealthy for
    one reason on many nodes.

    The exit status is 0 when all is well, 1 when plugins have too few healthy instances or a node
    is down, 2 when a plugin has no healthy instance, and 3 when that is unknown: no server answers,
    or the token may not read it. A plugin with as many healthy instances as are expected is ok,
    also where further ones are unhealthy.
    """
    problems = client.problems().value
    answer = client.history(since=_SINCE)
    if as_json:
        output.print_json({"Problems": problems, "Changes": answer.value})
        say_more(answer, err=True)
    else:
        _show(problems, answer)
    raise click.exceptions.Exit(_STATUSES[problems["Severity"]])


def _show(problems: Values, answer: Answer) -> None:
    changes = answer.value
    console = output.console()
    terminal.echo(totals(problems))
    if problems["Problems"]:
        terminal.echo("")
        console.print(_problem_table(problems["Problems"]))
    left = problems["ProblemCount"] - len(problems["Problems"])
    if left:
        terminal.echo(f"and {left} more")
    terminal.echo("")
    terminal.echo(counts(changes, are_all=not answer.next_token))
    if table := history_table(changes[:CHANGES_SHOWN]):
        terminal.echo("")
        console.print(table)
    if len(changes) > CHANGES_SHOWN:
        terminal.echo(f"'plugind history --since {_SINCE}' shows the rest.")


def totals(problems: Values) -> str:
    """Return one line that sums up the problems."""
    count, plugins, nodes = (problems[name] for name in ("ProblemCount", "Plugins", "Nodes"))
    parts = [_number(count, "problem") if count else "All is well"]
    if plugins:
        bad = _bad(problems["PluginsDown"], "down") + _bad(problems["PluginsDegraded"], "degraded")
        fine = "none down or degraded" if count else "all healthy"
        parts.append(f"{_number(plugins, 'plugin')}: {', '.join(bad) or fine}")
    if nodes:  # None when the token may not read them
        bad = _bad(problems["NodesDown"], "down")
        parts.append(f"{_number(nodes, 'node')}: {', '.join(bad) or 'all up'}")
    return f"{'; '.join(parts)}."


def _bad(number: int, word: str) -> list[str]:
    return [f"{number} {word}"] if number else []


def counts(changes: Sequence[Values], *, are_all: bool) -> str:
    """Return one line with the numbers of changes in the last hour."""
    if not changes:
        return "Nothing changed in the last hour." if are_all else "Too much changed to be read."
    by_event = Counter(row["Event"] for row in changes).most_common()
    events = ", ".join(f"{number} {event}" for event, number in by_event)
    at_least = "" if are_all else "at least "
    return f"In the last hour: {at_least}{_number(len(changes), 'change')} ({events})."


def _problem_table(problems: Sequence[Values]) -> RenderableType:
    columns = [
        Column("Severity", drop=2),
        Column("What"),
        Column("Where"),
        Column("Since", drop=1, whole_words=True),
        Column("Why"),
    ]
    rows = [
        [
            each["Severity"],
            " ".join(_what(each)),
            _where(each),
            output.since(each["Since"]) if each["Since"] else "",
            each["Reason"],
        ]
        for each in problems
    ]
    return output.table(columns, rows)


def _what(problem: Values) -> Iterator[str]:
    """Yield the words that name the node or plugin that has a problem."""
    if problem["Kind"] in ("node", "clone"):
        yield "node"
        yield from (node["Name"] for node in problem["Nodes"])
    else:
        yield f"{problem['Type']}/{problem['ID']}"
        yield from problem["Roles"]


def _where(problem: Values) -> str:
    """Return which nodes a problem affects or, for a node's problem, how many instances."""
    if problem["Kind"] in ("node", "clone"):
        return _number(problem["InstanceCount"], "instance") if problem["InstanceCount"] else ""
    names = ", ".join(node["Name"] for node in problem["Nodes"])
    if problem["NodeCount"] > len(problem["Nodes"]):
        return f"{problem['NodeCount']} nodes: {names}, ..."
    return names


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
