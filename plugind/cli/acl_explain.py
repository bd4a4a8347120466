"""``plugind acl explain``: whether a request is allowed, and which rule of which file decides.

It asks the same table, policies and tokens that a server asks, and needs no server.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import click

from plugind.acl import ANONYMOUS, Acl, Caller, Decision, Token, acl_of
from plugind.acl.tokens import MANAGEMENT
from plugind.api import TABLE
from plugind.api.endpoints import Asked, Endpoint
from plugind.api.matching import Paths
from plugind.cli import output
from plugind.configured import load_settings
from plugind.errors import NotFound, PlugindError
from plugind.fields import format_time
from plugind.registry import Registry

PATHS = Paths(TABLE)
DENIED, MISTAKEN = 1, 2
"""Exit statuses beside 0 for what is allowed."""


class Mistake(click.ClickException):
    """What was asked cannot be answered."""

    exit_code = MISTAKEN


@dataclass(frozen=True)
class Explained:
    """A decision, what it is about, and ``why`` for where no rule says it."""

    endpoint: Endpoint
    caller: Caller
    decision: Decision
    why: str = ""


@click.command()
@click.argument("method")
@click.argument("url", metavar="PATH")
@click.option("--accessor", metavar="UUID", help="The token that asks; none, unless it is named.")
@click.option(
    "--config",
    "paths",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The server's configuration, as 'plugind agent --config' reads it; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def explain(
    method: str, url: str, accessor: str | None, paths: tuple[Path, ...], as_json: bool
) -> None:
    """Say whether a request is allowed, and which rule of which file decides.

    PATH may have a query: GET '/v1/plugins?type=NAME'. Needs no server: it reads the files as they
    are now. The exit status is 0 when it is allowed, 1 when it is not, 2 for mistakes.
    """
    try:
        settings, registry = load_settings(paths, {}, None)
        acl = acl_of(settings.acl, registry.installed.values())
        explained = _explained(acl, registry, method, url, accessor)
    except PlugindError as error:
        raise Mistake(str(error)) from error
    if as_json:
        output.print_json(_as_json(explained))
    else:
        click.echo(_told(explained))
    click.get_current_context().exit(0 if explained.decision.allowed else DENIED)


def _explained(
    acl: Acl, registry: Registry, method: str, url: str, accessor: str | None
) -> Explained:
    quoted, _, arguments = url.partition("?")
    endpoint, path = PATHS.match(method.upper(), unquote(quoted))
    query: dict[str, str] = {}
    for name, value in parse_qsl(arguments, keep_blank_values=True):
        query.setdefault(name, value)  # of a repeated one the first counts, as in a server
    token = _token(acl, accessor) if accessor else None
    caller = token.caller if token else acl.caller("", time.time_ns())
    if token and not token.is_valid(time.time_ns()):
        why = f"the token expired at {format_time(token.expires or 0)}"
        return Explained(endpoint, caller, Decision("none"), why)
    decision = endpoint.need(acl.authorizer(caller), Asked(caller, registry.types, path, query))
    return Explained(
        endpoint, caller, decision, "" if decision.rule else _why(acl, caller, decision)
    )


def _token(acl: Acl, accessor: str) -> Token:
    for token in acl.tokens.values():
        if token.caller.accessor == accessor:
            return token
    raise NotFound(f"no token has the accessor {accessor}")


def _why(acl: Acl, caller: Caller, decision: Decision) -> str:
    """Why something is decided so without a rule."""
    if not acl.enabled:
        return "ACLs are off"
    if caller.type == MANAGEMENT:
        return "a management token may do everything"
    if decision.allowed:
        return "no rule is needed"
    if caller.accessor == ANONYMOUS and ANONYMOUS not in acl.policies:
        return f"no token, and there is no policy {ANONYMOUS}"
    return "no rule allows it"


def _told(explained: Explained) -> str:
    """The decision, what is needed, and what else there may be to decide."""
    decision, endpoint = explained.decision, explained.endpoint
    verdict = "Allowed" if decision.allowed else "Denied"
    needed = f"{endpoint.method} {endpoint.path} needs: {endpoint.needed.partition(chr(10))[0]}"
    if decision.allowed and endpoint.decided_later:
        needed += f"\nThe body decides further: what it asks for needs {endpoint.decided_later}."
    if decision.rule is None:
        return f"{verdict}: {explained.why}.\n{needed}"
    rule, place = decision.rule, decision.rule.place
    by = f"{rule} in {place.source}:{place.line}"
    if decision.effect == "none":
        return f"{verdict}: no rule allows it; the closest is {by}.\n{needed}"
    return f"{verdict} by {by}.\n{needed}"


def _as_json(explained: Explained) -> Mapping[str, Any]:
    decision, endpoint, rule = explained.decision, explained.endpoint, explained.decision.rule
    return {
        "Allowed": decision.allowed,
        "Effect": decision.effect,
        "Why": explained.why,
        "Rule": str(rule) if rule else None,
        "Policy": rule.policy if rule else None,
        "File": rule.place.source if rule else None,
        "Line": rule.place.line if rule else None,
        "Endpoint": f"{endpoint.method} {endpoint.path}",
        "Needs": endpoint.needed,
        "DecidedLater": endpoint.decided_later,
        "Caller": explained.caller.name,
    }
