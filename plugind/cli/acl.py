"""``plugind acl``: makes tokens, and says what policies allow. Needs neither server nor
configuration."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from plugind.acl.authorizer import Authorizer, Verdicts
from plugind.acl.blocks import Findings
from plugind.acl.policies import NAME, Policy, read_policies
from plugind.acl.tokens import CLIENT, MANAGEMENT, TYPES, Token, block, draw, is_name
from plugind.acl.vocabulary import ACTIONS, LIST, READ, REGISTER, WRITE, Vocabulary, capability
from plugind.cli import output
from plugind.cli.acl_explain import explain
from plugind.config.tree import raise_any
from plugind.fields import INT64_MAX, SECOND, format_time, parse_duration
from plugind.registry import load_registry


@click.group()
def acl() -> None:
    """Make tokens, and see what policies allow."""


acl.add_command(explain)


@acl.group()
def token() -> None:
    """Make tokens."""


@acl.group()
def policy() -> None:
    """See what policies allow."""


@token.command()
@click.option("--name", default="", help="Whose token it is; by default it gets a made-up name.")
@click.option(
    "--type", "type_", type=click.Choice(TYPES), default=CLIENT, help="client, unless named."
)
@click.option("--policy", "policies", multiple=True, help="A policy's name; may be repeated.")
@click.option("--expires-in", metavar="DURATION", help="Such as 24h; by default it never expires.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def create(
    name: str, type_: str, policies: tuple[str, ...], expires_in: str | None, as_json: bool
) -> None:
    """Draw a secret and print it, once, with the block for the server's file of tokens.

    Nothing is written anywhere. The block has a hash of the secret, from which it cannot be told.
    """
    _check(name, type_, policies)
    secret, made = draw(name, type_, policies, _expiry(expires_in))
    if as_json:
        output.print_json(_as_json(secret, made))
        return
    click.echo(f"The secret, which cannot be shown again:\n\n{secret}\n")
    click.echo(f"For the file of tokens:\n\n{block(made)}", nl=False)


@policy.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)
def check(files: tuple[Path, ...]) -> None:
    """Say what each policy allows by itself. A policy is named as its file.

    Mistakes are told, each with its file, line and column; the exit status is 1 then.
    """
    vocabulary, findings = Vocabulary.of(load_registry().types.values()), Findings()
    policies = read_policies(files, vocabulary, findings)
    for warning in findings.warnings:
        click.echo(f"Warning: {warning}", err=True)
    raise_any(findings.mistakes)
    for number, each in enumerate(policies):
        click.echo("\n" if number else "", nl=False)
        _tell(each, vocabulary)


def _check(name: str, type_: str, policies: tuple[str, ...]) -> None:
    if name and not is_name(name):
        raise click.ClickException("--name must have at most 256 characters, all of them printable")
    for each in policies:
        if not NAME.fullmatch(each):
            raise click.ClickException(
                f"--policy {each!r} is no policy's name: 1 to 128 letters, digits or dashes"
            )
    if type_ == MANAGEMENT and policies:
        raise click.ClickException("a management token may do everything: leave --policy out")
    if type_ == CLIENT and not policies:
        raise click.ClickException(
            "the token would grant nothing: name a --policy, or --type management"
        )


def _expiry(text: str | None) -> int | None:
    """When a token expires that lives for so long from now, in whole seconds."""
    if text is None:
        return None
    try:
        span = parse_duration(text)
    except ValueError as error:
        raise click.ClickException(
            f"--expires-in {text!r} is no duration, such as 30m or 24h"
        ) from error
    if span < SECOND:
        raise click.ClickException("--expires-in must be at least 1s")
    moment = (time.time_ns() + span) // SECOND * SECOND
    if moment > INT64_MAX:
        raise click.ClickException(f"--expires-in {text!r} is too long; leave it out for ever")
    return moment


def _as_json(secret: str, made: Token) -> dict[str, Any]:
    """By Nomad's names, and the block."""
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


def _tell(policy: Policy, vocabulary: Vocabulary) -> None:
    about = f": {policy.description}" if policy.description else ""
    click.echo(f"Policy {policy.name}{about}")
    rows = list(_rows(Authorizer([policy], vocabulary), vocabulary))
    header = ["Rule", "Line", "Allows"]
    output.console().print(output.table(header, rows) if rows else "Nothing.")


def _rows(authorizer: Authorizer, vocabulary: Vocabulary) -> Iterator[list[str]]:
    """One for each rule that plugind decides by: where it stands and what it allows."""
    plugins, nodes, agents = authorizer.plugins, authorizer.nodes, authorizer.agents
    denied = plugins.otherwise.effect == "deny"
    for verdicts in authorizer.namespaces.values():
        yield _row(verdicts, _in_namespace(verdicts, vocabulary, denied))
    if plugins.otherwise.rule:
        what = "plugins of every type, in every namespace"
        yield _row(plugins, _phrase(_allowed(plugins, (LIST, READ)), what))
    if nodes.otherwise.rule:
        told = _phrase(_allowed(nodes, (READ, WRITE)), "nodes")
        report = "; register plugins of every type" if nodes[WRITE].allowed else ""
        yield _row(nodes, told + report)
    if agents.otherwise.rule:
        yield _row(agents, _phrase(_allowed(agents, (READ,)), "the agent"))


def _in_namespace(verdicts: Verdicts, vocabulary: Vocabulary, denied: bool) -> str:
    """``denied``: a plugin rule denies to look at plugins, whatever a namespace grants."""
    types_by_phrase: dict[str, list[str]] = {}
    for type_ in vocabulary.types:
        names = {a: capability(type_, a) for a in ACTIONS if a == REGISTER or not denied}
        allowed = [action for action, name in names.items() if verdicts[name].allowed]
        types_by_phrase.setdefault(_phrase(allowed, "plugins of"), []).append(type_)
    return "; ".join(f"{told} {_joined(types)}" for told, types in types_by_phrase.items() if told)


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
