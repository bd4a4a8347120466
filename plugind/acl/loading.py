"""Policies and tokens, read together into one frozen object."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from plugind.acl.authorizer import Authorizer, Management
from plugind.acl.blocks import Diagnostics
from plugind.acl.policies import Policy, read_policies
from plugind.acl.tokens import CLIENT, MANAGEMENT, Caller, Token, digest, read_tokens
from plugind.acl.vocabulary import Vocabulary
from plugind.config.files import files_in
from plugind.config.settings import AclSettings
from plugind.config.tree import Place, raise_any
from plugind.errors import Mistake, TokenNotFound
from plugind.plugin_type import PluginType

ANONYMOUS = "anonymous"
"""The name of the policy for callers without a token, if such a policy exists."""

_EVERYTHING = Management()
_EVERYBODY = Caller("", "", MANAGEMENT)
_NOBODY = Caller(ANONYMOUS, "Anonymous Token", CLIENT, (ANONYMOUS,))


@dataclass(frozen=True)
class Acl:
    """All policies and tokens at one moment; reading changed files creates a new ``Acl``.

    The keys of ``tokens`` are digests of their secrets. ``generation`` is a digest of the files.
    ``warnings`` name parts that look as if they grant something but do not.
    """

    enabled: bool = True
    policies: Mapping[str, Policy] = field(default_factory=dict)
    tokens: Mapping[bytes, Token] = field(default_factory=dict, repr=False)
    vocabulary: Vocabulary = field(default=Vocabulary.of(()), repr=False)
    warnings: tuple[Mistake, ...] = ()
    generation: str = ""
    _authorizers: dict[tuple[str, ...], Authorizer] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _by_accessor: dict[str, Token] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def caller(self, secret: str, now: int) -> Caller:
        """Return the caller with a secret ("" for none) at a time in nanoseconds since the epoch.

        Raise TokenNotFound when no token has the secret, or the token has expired.
        """
        if not self.enabled:
            return _EVERYBODY
        if not secret:
            return _NOBODY
        token = self.tokens.get(digest(secret))
        if token is None or not token.is_valid(now):
            raise TokenNotFound
        return token.caller

    def expiry(self, secret: str) -> int | None:
        """Return when the token with a secret expires, in nanoseconds since the epoch; None if it
        never expires or does not exist.
        """
        token = self.tokens.get(digest(secret)) if self.enabled and secret else None
        return token.expires if token else None

    def held_by(self, accessor: str, now: int) -> Token:
        """Return the token with an accessor, for work that was begun with the token and continues.

        Raise TokenNotFound when the token no longer exists or has expired.
        """
        if not self._by_accessor:
            self._by_accessor.update({each.caller.accessor: each for each in self.tokens.values()})
        token = self._by_accessor.get(accessor)
        if token is None or not token.is_valid(now):
            raise TokenNotFound
        return token

    def authorizer(self, caller: Caller) -> Authorizer:
        """Return the rights of a caller; they are cached for each set of policies."""
        if caller.type == MANAGEMENT:
            return _EVERYTHING
        found = self._authorizers.get(caller.policies)
        if found is None:
            policies = [self.policies[name] for name in caller.policies if name in self.policies]
            found = self._authorizers[caller.policies] = Authorizer(policies, self.vocabulary)
        return found


ACL_OFF = Acl(enabled=False)
"""The ``Acl`` when ACLs are off: every caller counts as management."""


def acl_of(settings: AclSettings, types: Iterable[PluginType]) -> Acl:
    """Return the policies and tokens that a configuration names, read from their files.

    Raise ConfigError with all mistakes of all files.
    """
    return load_acl(settings.policies, settings.tokens, types) if settings.enabled else ACL_OFF


def load_acl(folder: Path | None, tokens: Path | None, types: Iterable[PluginType]) -> Acl:
    """Return the policies of a folder and the tokens of a file; None means no policies or tokens.

    ``types`` are the plugin types whose capabilities policies may name. Raise ConfigError with all
    mistakes of all files.
    """
    vocabulary, diagnostics = Vocabulary.of(types), Diagnostics()
    files: list[Path] = []
    if folder:
        try:
            files = files_in(folder)
        except OSError as error:
            diagnostics.add(Place(str(folder)), f"cannot be read: {error.strerror}")
    policies = read_policies(files, vocabulary, diagnostics)
    by_name = {policy.name: policy for policy in policies}
    text, found = read_tokens(tokens, by_name, diagnostics) if tokens else ("", {})
    raise_any(diagnostics.mistakes)
    parts = [
        *vocabulary.types,
        *(part for policy in policies for part in (policy.name, policy.text)),
    ]
    return Acl(
        policies=by_name,
        tokens=found,
        vocabulary=vocabulary,
        warnings=tuple(sorted(diagnostics.warnings)),
        generation=_digest([*parts, text]),
    )


def _digest(parts: Iterable[str]) -> str:
    """Return a digest of texts; it also depends on where each text ends."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode()
        whole.update(b"%d:%b" % (len(data), data))
    return whole.hexdigest()[:16]
