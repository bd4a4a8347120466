"""``plugind acl``: create tokens and show what policies allow, without a server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from plugind.acl.authorizer import Authorizer, Verdicts
from plugind.acl.blocks import Diagnostics
from plugind.acl.policies import NAME, Policy, read_policies
from plugind.acl.tokens import CLIENT, MANAGEMENT, TYPES, Token, block, draw, is_name
from plugind.acl.vocabulary import ACTIONS, LIST, READ, REGISTER, WRITE, Vocabulary, capability
from plugind.cli import output, terminal
from plugind.cli.acl_explain import explain
from plugind.cli.commands import Group, examples
from plugind.config.tree import raise_any
from plugind.model.times import INT64_MAX, SECOND, format_time, parse_duration
from plugind.types.registry import load_registry


@click.group(cls=Group)
def acl() -> None:
    """Create tokens, and show what policies allow. Needs no server."""


acl.add_command(explain)


@acl.group()
def token() -> None:
    """Create tokens."""


@acl.group()
def policy() -> None:
    """Show what policies allow."""


@token.command(
    epilog=examples(
        "plugind acl token create --name root --type management",
        "plugind acl token create --name grafana --policy dashboard --expires-in 2160h",
    )
)
@click.option("--name", default="", help="Name of the person or program that uses the token.")
@click.option(
    "--type",
    "type_",
    type=click.Choice(TYPES),
    default=CLIENT,
    show_default=True,
    help="A management token may do everything; a client token, what its policies allow.",
)
@click.option(
    "--policy", "policies", multiple=True, help="A policy of a client token; may be repeated."
)
@click.option(
    "--expires-in",
    metavar="DURATION",
    help="How long it is valid, such as 24h; by default without limit.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def create(
    name: str, type_: str, policies: tuple[str, ...], expires_in: str | None, as_json: bool
) -> None:
    """Draw a secret and print it, once, with the block for the server's file of tokens.

    Nothing is written to any file: add the block to the file that acl.tokens names, then run
    "plugind reload". The block has only a hash, from which the secret cannot be found.
    """
    _check(name, type_, policies)
    secret, made = draw(name, type_, policies, _expiry(expires_in))
    if as_json:
        output.print_json(_as_json(secret, made))
        return
    terminal.echo(f"The secret, which cannot be shown again:\n\n{secret}\n")
    terminal.echo(f"For the file of tokens:\n\n{block(made)}", nl=False)


@policy.command(epilog=examples("plugind acl policy check /etc/plugind/acl/policies/*.hcl"))
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def check(files: tuple[Path, ...], as_json: bool) -> None:
    """Print what each policy allows by itself. A policy has the name of its file.

    Every mistake is printed with its file, line and column; the exit status is 1 then.
    """
    vocabulary, diagnostics = Vocabulary.of(load_registry().types.values()), Diagnostics()
    policies = read_policies(files, vocabulary, diagnostics)
    for warning in diagnostics.warnings:
        terminal.echo(f"Warning: {warning}", err=True)
    raise_any(diagnostics.mistakes)
    if as_json:
        output.print_json([_policy_json(each, vocabulary) for each in policies])
        return
    for number, each in enumerate(policies):
        terminal.echo("\n" if number else "", nl=False)
        about = f": {each.description}" if each.description else ""
        terminal.echo(f"Policy {each.name}{about}")
        rows = list(_rows(Authorizer([each], vocabulary), vocabulary))
        header = ["Rule", "Line", "Allows"]
        output.console().print(output.table(header, rows) if rows else "Nothing.")


def _check(name: str, type_: str, policies: tuple[str, ...]) -> None:
    if name and not is_name(name):
        raise click.ClickException("--name must have at most 256 characters, all of them printable")
    for each in policies:
        if not NAME.fullmatch(each):
            raise click.ClickException(
                f"--policy {each!r} is not a policy's name: use 1 to 128 letters, digits or dashes"
            )
    if type_ == MANAGEMENT and policies:
        raise click.ClickException("a management token may do everything: leave --policy out")
    if type_ == CLIENT and not policies:
        raise click.ClickException(
            "the token would grant nothing: name a --policy, or --type management"
        )


def _expiry(text: str | None) -> int | None:
    """Return the time at which a token with this lifetime expires, in whole seconds."""
    if text is None:
        return None
    try:
        span = parse_duration(text)
    except ValueError as error:
        raise click.ClickException(
            f"--expires-in {text!r} is not a duration; use one such as 30m or 24h"
        ) from error
    if span < SECOND:
        raise click.ClickException("--expires-in must be at least 1s")
    moment = (time.time_ns() + span) // SECOND * SECOND
    if moment > INT64_MAX:
        raise click.ClickException(f"--expires-in {text!r} is too long; leave it out for no limit")
    return moment


def _as_json(secret: str, made: Token) -> dict[str, Any]:
    """Return the token under Nomad's names, and its block."""
    caller = made.caller
    return {
        "AccessorID": caller.accessor,
        "SecretID": secret,
        "Name": caller.name,
        "Type": caller.type,
        "Policies": list(caller.policies),
        "ExpirationTime": None if made.expires is None else format_time(made.expires),
        "Block": block(made),
    }


def _policy_json(policy: Policy, vocabulary: Vocabulary) -> dict[str, Any]:
    rows = _rows(Authorizer([policy], vocabulary), vocabulary)
    return {
        "Name": policy.name,
        "Description": policy.description,
        "Rules": [
            {"Rule": rule, "Line": int(line), "Allows": allows} for rule, line, allows in rows
        ],
    }


def _rows(authorizer: Authorizer, vocabulary: Vocabulary) -> Iterator[list[str]]:
    """Yield a row for each rule that plugind uses: where the rule is and what it allows."""
    plugins, nodes, agents = authorizer.plugins, authorizer.nodes, authorizer.agents
    denied = plugins.otherwise.effect == "deny"
    for verdicts in authorizer.namespaces.values():
        yield _row(verdicts, _in_namespace(verdicts, vocabulary, denied))
    if plugins.otherwise.rule:
        what = "plugins of every type, in every namespace"
        yield _row(plugins, _phrase(_allowed(plugins, (LIST, READ)), what))
    if nodes.otherwise.rule:
        seen = _phrase(_allowed(nodes, (READ, WRITE)), "nodes")
        report = "; register plugins of every type" if nodes[WRITE].allowed else ""
        yield _row(nodes, seen + report)
    if agents.otherwise.rule:
        yield _row(agents, _phrase(_allowed(agents, (READ,)), "the agent"))


def _in_namespace(verdicts: Verdicts, vocabulary: Vocabulary, denied: bool) -> str:
    """Return what rules allow in a namespace.

    With ``denied``, a plugin rule denies plugins, whatever a namespace grants.
    """
    types_by_phrase: dict[str, list[str]] = {}
    for type_ in vocabulary.types:
        names = {a: capability(type_, a) for a in ACTIONS if a == REGISTER or not denied}
        allowed = [action for action, name in names.items() if verdicts[name].allowed]
        types_by_phrase.setdefault(_phrase(allowed, "plugins of"), []).append(type_)
    phrases = types_by_phrase.items()
    return "; ".join(f"{phrase} {_joined(types)}" for phrase, types in phrases if phrase)


def _row(verdicts: Verdicts, allowed: str) -> list[str]:
    rule = verdicts.otherwise.rule
    nothing = "nothing: denied" if verdicts.otherwise.effect == "deny" else "nothing"
    return [str(rule), str(rule.place.line) if rule else "", allowed or nothing]


def _allowed(verdicts: Verdicts, actions: Sequence[str]) -> list[str]:
    return [action for action in actions if verdicts[action].allowed]


def _phrase(actions: Sequence[str], what: str) -> str:
    return f"{_joined(actions)} {what}" if actions else ""


def _joined(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
