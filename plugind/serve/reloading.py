"""Policies and tokens that a start or a reload puts into force, for a server and for the parent of
workers."""

from __future__ import annotations

from collections.abc import Iterator

from plugind import logs
from plugind.acl import Acl, acl_of
from plugind.acl.tokens import MANAGEMENT
from plugind.config.reading import forget_parser
from plugind.config.settings import Settings
from plugind.config.tree import raise_any
from plugind.errors import Mistake
from plugind.types.registry import Registry

_log = logs.get("server")


def acl_at_start(settings: Settings, registry: Registry) -> Acl:
    """Return the policies and tokens to start with. Raise ConfigError."""
    acl = acl_of(settings.acl, registry.installed.values())
    forget_parser()  # these were the last files; its memory is free for other use
    _log_warnings(acl)
    return acl


def reloaded_acl(before: Settings, registry: Registry, settings: Settings) -> Acl:
    """Return the policies and tokens of a reload, for a server that started with ``before``.

    Raise ConfigError for mistakes in the configuration.
    """
    acl = acl_of(settings.acl, registry.installed.values())
    raise_any(_not_while_running(before, registry, settings))
    _log_warnings(acl)
    return acl


def _not_while_running(
    before: Settings, registry: Registry, settings: Settings
) -> Iterator[Mistake]:
    """Yield a mistake for each change of the configuration that takes effect only at a start."""
    if settings.acl.enabled is not before.acl.enabled:
        yield Mistake("acl.enabled", 0, 0, "is read at start only: restart the server")
    for type_ in sorted({each.key.type for each in settings.declarations}):
        if type_ not in registry.types:
            text = "the running server does not have this plugin type: restart it"
            yield Mistake(f'plugin "{type_}"', 0, 0, text)


def _log_warnings(acl: Acl) -> None:
    """Log the warnings about policies and tokens that were just put into force."""
    for warning in acl.warnings:
        _log.warning("a policy or token may not do what it looks like", warning=str(warning))
    if acl.enabled and not any(token.caller.type == MANAGEMENT for token in acl.tokens.values()):
        _log.warning(
            "no token may manage: 'plugind acl token create --type management' makes one, "
            "to be put into the file that acl.tokens names"
        )
