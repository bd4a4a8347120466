"""``plugind acl explain``: show whether a request is allowed, and the rule that decides.

It uses the same table of endpoints, policies and tokens as a server, and needs no server.
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
from plugind.api.denials import needed as needed_for
from plugind.api.endpoints import Asked, Endpoint
from plugind.api.matching import Paths
from plugind.cli import output, terminal
from plugind.cli.commands import Command, examples
from plugind.errors import NotFound, PlugindError
from plugind.model.times import time_text
from plugind.types.configured import load_settings
from plugind.types.registry import Registry

PATHS = Paths(TABLE)
DENIED, MISTAKEN = 1, 2
"""Exit statuses; 0 means that the request is allowed."""


class Mistake(click.ClickException):
    """A question that cannot be answered."""

    exit_code = MISTAKEN


@dataclass(frozen=True)
class Explained:
    """A decision on a request; ``why`` is the reason if no rule decided."""

    endpoint: Endpoint
    asked: Asked
    decision: Decision
    why: str = ""


@click.command(
    cls=Command,
    epilog=examples(
        "plugind acl explain GET /v1/nodes --config /etc/plugind",
        "plugind acl explain GET '/v1/plugins?type=NAME' --accessor UUID --config /etc/plugind",
    ),
)
@click.argument("method")
@click.argument("url", metavar="PATH")
@click.option(
    "--accessor",
    metavar="UUID",
    help="The accessor of the token that asks; without it, a request without a token.",
)
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
    """Print whether a request is allowed, and the rule that decides, with its file.

    METHOD and PATH are those of the HTTP request; PATH may have a query. Needs no server: it reads
    the files as they are now. The exit status is 0 when the request is allowed, 1 when it is not
    and 2 for mistakes.
    """
    try:
        settings, registry = load_settings(paths, {}, None)
        acl = acl_of(settings.acl, registry.installed.values())
        has_public_metrics = settings.metrics.public
        explained = _explained(acl, registry, method, url, accessor, has_public_metrics)
    except PlugindError as error:
        raise Mistake(str(error)) from error
    if as_json:
        output.print_json(_as_json(explained))
    else:
        terminal.echo(_as_text(explained))
    click.get_current_context().exit(0 if explained.decision.allowed else DENIED)


def _explained(
    acl: Acl,
    registry: Registry,
    method: str,
    url: str,
    accessor: str | None,
    has_public_metrics: bool = False,
) -> Explained:
    quoted, _, arguments = url.partition("?")
    endpoint, path = PATHS.match(method.upper(), unquote(quoted))
    query: dict[str, str] = {}
    parameters = parse_qsl(arguments, keep_blank_values=True)
    for name, value in parameters:
        query.setdefault(name, value)  # As in a server, the first of several values counts.
    token = _token(acl, accessor) if accessor else None
    caller = token.caller if token else acl.caller("", time.time_ns())
    asked = Asked(
        caller,
        registry.types,
        path,
        query,
        parameters=parameters,
        has_public_metrics=has_public_metrics,
    )
    if token and not token.is_valid(time.time_ns()):
        why = f"the token expired at {time_text(token.expires or 0)}"
        return Explained(endpoint, asked, Decision("none"), why)
    decision = endpoint.need(acl.authorizer(caller), asked)
    why = "" if decision.rule else _why(acl, caller, decision)
    return Explained(endpoint, asked, decision, why)


def _token(acl: Acl, accessor: str) -> Token:
    for token in acl.tokens.values():
        if token.caller.accessor == accessor:
            return token
    raise NotFound(f"no token has the accessor {accessor}")


def _why(acl: Acl, caller: Caller, decision: Decision) -> str:
    """Return the reason for a decision without a rule."""
    if not acl.enabled:
        return "ACLs are off"
    if caller.type == MANAGEMENT:
        return "a management token may do everything"
    if decision.allowed:
        return "no rule is needed"
    if caller.accessor == ANONYMOUS and ANONYMOUS not in acl.policies:
        return f"no token, and no policy {ANONYMOUS}"
    return "no rule allows it"


def _as_text(explained: Explained) -> str:
    """Return the decision, the rights that the request needs, and those that its body needs."""
    decision, endpoint = explained.decision, explained.endpoint
    words = needed_for(endpoint.need, explained.asked)
    verdict = "Allowed" if decision.allowed else "Denied"
    needed = f"{endpoint.method} {endpoint.path} needs: {words}."
    if decision.allowed and endpoint.decided_later:
        needed += f"\nThe body is decided on as well: its contents need {endpoint.decided_later}."
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
        "Caller": explained.asked.caller.name,
    }
