"""Tokens and the hashes of their secrets; files never hold a secret itself.

A secret has 256 random bits, so a single SHA-256 of it is as safe as a slow password hash, and a
lookup costs no more than that.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from plugind.acl.blocks import BLOCK_MAXIMUM, Diagnostics, header, parted, shown
from plugind.config.reading import read_file
from plugind.config.tree import Attribute, Block, Body, Place
from plugind.errors import ConfigError
from plugind.model.times import format_time, parse_time
from plugind.wire.texts import is_node_id

CLIENT, MANAGEMENT = "client", "management"
TYPES = (CLIENT, MANAGEMENT)
NAME_MAXIMUM = 256
FILE_MAXIMUM = 4 * 1024 * 1024
"""Bytes of a file of tokens: enough for about 20,000 tokens."""

_SETTINGS = ("accessor", "hash", "type", "policies", "expires")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_WRITE = 'write token "NAME" { ... }'
_SECRET = re.compile("[0-9A-Za-z_-]{32,}")  # Any such text may be a secret.
_QUOTED = re.compile(r"(['\"]).*\1")


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request; ``policies`` are sorted unique names, and some may not exist."""

    accessor: str
    name: str
    type: str
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """A caller with the hash of its secret. ``expires`` is in nanoseconds since the epoch."""

    caller: Caller
    hash: bytes = field(repr=False)
    expires: int | None = None

    def is_valid(self, now: int) -> bool:
        return self.expires is None or now < self.expires


def digest(secret: str) -> bytes:
    """Return the hash under which a secret's token is stored and looked up."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def draw(
    name: str, type_: str, policies: Collection[str], expires: int | None
) -> tuple[str, Token]:
    """Return a new secret and its token, from which the secret cannot be recovered.

    Without a name, the token is named after the first 8 characters of its accessor.
    """
    secret, accessor = secrets.token_hex(32), str(uuid.uuid4())
    caller = Caller(accessor, name or accessor[:8], type_, tuple(sorted(set(policies))))
    return secret, Token(caller, digest(secret), expires)


def is_name(text: str) -> bool:
    return 0 < len(text) <= NAME_MAXIMUM and text.isprintable()


def block(token: Token) -> str:
    """Return the token as a block of the file of tokens."""
    caller = token.caller
    lines = {"accessor": caller.accessor, "hash": f"sha256:{token.hash.hex()}", "type": caller.type}
    values = {name: _hcl(value) for name, value in lines.items()}
    if caller.policies:
        values["policies"] = f"[{', '.join(map(_hcl, caller.policies))}]"
    if token.expires is not None:
        values["expires"] = _hcl(format_time(token.expires))
    body = "".join(f"  {name:8} = {value}\n" for name, value in values.items())
    return f"token {_hcl(caller.name)} {{\n{body}}}\n"


def _hcl(text: str) -> str:
    """Return printable text in quotes, escaped so that HCL finds no expressions in it."""
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted.replace("${", "\\u0024{").replace("%{", "\\u0025{")


def read_tokens(
    file: Path, policies: Collection[str], diagnostics: Diagnostics
) -> tuple[str, Mapping[bytes, Token]]:
    """Return the text of a file of tokens, and the tokens by hash; add mistakes to ``diagnostics``.

    The text of a mistake never contains an accessor, a hash, the text at a syntax error, or a name
    that may be a misplaced secret.
    """
    try:
        text, body = read_file(file, FILE_MAXIMUM, BLOCK_MAXIMUM)
    except ConfigError as error:
        diagnostics.mistakes += [
            Place(each.source, each.line, each.column).mistake(
                _masked(_QUOTED.sub("...", each.text))
            )
            for each in error.mistakes
        ]
        return "", {}
    return text, _Reader(policies, _Discreet(diagnostics)).tokens(body)


class _Discreet(Diagnostics):
    """Diagnostics that mask everything that may be a secret."""

    def __init__(self, diagnostics: Diagnostics) -> None:
        self.mistakes, self.warnings = diagnostics.mistakes, diagnostics.warnings

    def add(self, place: Place, text: str) -> None:
        super().add(place, _masked(text))

    def warn(self, place: Place, text: str) -> None:
        super().warn(place, _masked(text))


def _masked(text: str) -> str:
    return _SECRET.sub("...", text)


class _Reader:
    """A reader of the tokens of one file."""

    def __init__(self, policies: Collection[str], diagnostics: Diagnostics) -> None:
        self._policies = policies
        self._diagnostics = diagnostics
        self._seen: dict[str | bytes, Place] = {}
        self._missed: set[str] = set()

    def tokens(self, body: Body) -> dict[bytes, Token]:
        attributes, blocks = parted(body, {"token": True})
        for attribute in attributes:
            if attribute.name == "token":
                self._diagnostics.add(attribute.place, f"token is a block: {_WRITE}")
            else:
                self._diagnostics.unknown(attribute.place, "block", attribute.name, ["token"])
        tokens = [token for each in blocks for token in self._token(each)]
        return {token.hash: token for token in tokens}

    def _token(self, block: Block) -> Iterator[Token]:
        if block.type != "token":
            self._diagnostics.unknown(block.place, "block", block.type, ["token"])
            return
        if len(block.labels) != 1 or not is_name(block.labels[0]):
            text = f"token needs one name, of 1 to {NAME_MAXIMUM} printable characters"
            self._diagnostics.add(block.place, f"{text}: {_WRITE}")
            return
        attributes, inner = parted(block.body, {})
        for each in inner:
            self._diagnostics.unknown(each.place, "block", each.type, _SETTINGS, header(block))
        found = self._diagnostics.attributes(attributes, header(block), _SETTINGS)
        accessor = self._accessor(block, found.get("accessor"))
        hash = self._hash(block, found.get("hash"))
        type_ = self._type(found.get("type"))
        policies = self._named(block, type_, found.get("policies"))
        expires = self._expires(found.get("expires"))
        if accessor and hash:
            yield Token(Caller(accessor, block.labels[0], type_, policies), hash, expires)

    def _accessor(self, block: Block, attribute: Attribute | None) -> str:
        value = self._text(block, "accessor", attribute)
        if attribute is None or value is None:
            return ""
        if not is_node_id(value):
            text = "accessor must be a UUID in lower case, as 'plugind acl token create' makes it"
            self._diagnostics.add(attribute.place, text)
            return ""
        self._once(value, attribute)
        return value

    def _hash(self, block: Block, attribute: Attribute | None) -> bytes:
        value = self._text(block, "hash", attribute)
        if attribute is None or value is None:
            return b""
        match = _HASH.fullmatch(value)
        if match is None:
            text = 'hash must be "sha256:" and 64 digits from 0 to f, the SHA-256 of the secret'
            self._diagnostics.add(attribute.place, text)
            return b""
        hash = bytes.fromhex(match[1])
        self._once(hash, attribute)
        return hash

    def _text(self, block: Block, name: str, attribute: Attribute | None) -> str | None:
        """Return the text of a required setting; if it is missing or not text, add a mistake and
        return None.
        """
        if attribute is None:
            self._diagnostics.add(block.place, f"{header(block)} lacks {name}")
        elif not isinstance(attribute.value, str):
            self._diagnostics.add(attribute.place, f"{name} must be text in quotes")
        else:
            return attribute.value
        return None

    def _once(self, value: str | bytes, attribute: Attribute) -> None:
        if value in self._seen:
            line = self._seen[value].line
            text = f"this {attribute.name} is in line {line} already; each token has its own"
            self._diagnostics.add(attribute.place, text)
        self._seen.setdefault(value, attribute.place)

    def _type(self, attribute: Attribute | None) -> str:
        if attribute is None or attribute.value in TYPES:
            return CLIENT if attribute is None else str(attribute.value)
        self._diagnostics.add(attribute.place, f'type must be "{CLIENT}" or "{MANAGEMENT}"')
        return ""

    def _named(self, block: Block, type_: str, attribute: Attribute | None) -> tuple[str, ...]:
        """Return the names of the token's policies."""
        names = self._diagnostics.texts(attribute)
        if names and attribute and type_ == MANAGEMENT:
            text = "a management token may do everything: remove its policies, or its type"
            self._diagnostics.add(attribute.place, text)
        elif not names and type_ == CLIENT:
            self._diagnostics.warn(
                block.place, f"{header(block)} names no policy: it grants nothing"
            )
        for name, place in names:
            if name not in self._policies and name not in self._missed:
                self._missed.add(name)
                text = f'there is no policy "{shown(name)}": it grants nothing'
                self._diagnostics.warn(place, text)
        return tuple(sorted({name for name, _ in names}))

    def _expires(self, attribute: Attribute | None) -> int | None:
        if attribute is None:
            return None
        try:
            return parse_time(attribute.value)
        except (ValueError, TypeError):
            text = "expires must be an RFC 3339 time, such as 2026-01-31T23:00:00Z"
            self._diagnostics.add(attribute.place, text)
            return None
