"""Policies and tokens, read together into one frozen object."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from plugind.acl.authorizer import Authorizer, Management
from plugind.acl.blocks import Findings
from plugind.acl.policies import Policy, read_policies
from plugind.acl.tokens import CLIENT, MANAGEMENT, Caller, Token, digest, read_tokens
from plugind.acl.vocabulary import Vocabulary
from plugind.config.files import files_in
from plugind.config.settings import AclSettings
from plugind.config.tree import Place, raise_any
from plugind.errors import Mistake, TokenNotFound
from plugind.plugin_type import PluginType

ANONYMOUS = "anonymous"
"""The policy of those who show no token, if there is one of that name."""

_EVERYTHING = Management()
_EVERYBODY = Caller("", "", MANAGEMENT)
_NOBODY = Caller(ANONYMOUS, "Anonymous Token", CLIENT, (ANONYMOUS,))


@dataclass(frozen=True)
class Acl:
    """All policies and tokens of one moment; after a change of the files a new one is made.

    ``tokens`` are by the digest of their secrets. ``generation`` changes with what was read.
    ``warnings`` are about what grants nothing though it looks as if it did.
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

    def caller(self, secret: str, now: int) -> Caller:
        """Who shows this secret, "" for none, at a time in nanoseconds since the epoch.

        Raises TokenNotFound when nobody has it, or not any more.
        """
        if not self.enabled:
            return _EVERYBODY
        if not secret:
            return _NOBODY
        token = self.tokens.get(digest(secret))
        if token is None or not token.is_valid(now):
            raise TokenNotFound
        return token.caller

    def authorizer(self, caller: Caller) -> Authorizer:
        """What the caller may do; made once for each set of policies."""
        if caller.type == MANAGEMENT:
            return _EVERYTHING
        found = self._authorizers.get(caller.policies)
        if found is None:
            policies = [self.policies[name] for name in caller.policies if name in self.policies]
            found = self._authorizers[caller.policies] = Authorizer(policies, self.vocabulary)
        return found


ACL_OFF = Acl(enabled=False)
"""Without ACLs everybody counts as management."""


def acl_of(settings: AclSettings, types: Iterable[PluginType]) -> Acl:
    """The policies and tokens that a configuration names, as their files stand now.

    Raises ConfigError with all mistakes of all files.
    """
    return load_acl(settings.policies, settings.tokens, types) if settings.enabled else ACL_OFF


def load_acl(folder: Path | None, tokens: Path | None, types: Iterable[PluginType]) -> Acl:
    """The policies of a folder and the tokens of a file, as far as there are any.

    ``types`` are the plugin types that policies may name capabilities of. Raises ConfigError with
    all mistakes of all files.
    """
    vocabulary, findings = Vocabulary.of(types), Findings()
    policies = read_policies(_files(folder, findings) if folder else [], vocabulary, findings)
    by_name = {policy.name: policy for policy in policies}
    text, found = read_tokens(tokens, by_name, findings) if tokens else ("", {})
    raise_any(findings.mistakes)
    parts = [
        *vocabulary.types,
        *(part for policy in policies for part in (policy.name, policy.text)),
    ]
    return Acl(
        policies=by_name,
        tokens=found,
        vocabulary=vocabulary,
        warnings=tuple(sorted(findings.warnings)),
        generation=_digest([*parts, text]),
    )


def _files(folder: Path, findings: Findings) -> list[Path]:
    try:
        return files_in(folder)
    except OSError as error:
        findings.add(Place(str(folder)), f"cannot be read: {error.strerror}")
        return []


def _digest(parts: Iterable[str]) -> str:
    """Of texts of which none can pass for two."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode()
        whole.update(b"%d:%b" % (len(data), data))
    return whole.hexdigest()[:16]
