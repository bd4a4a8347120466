"""Tokens: who holds which secret. Files have hashes of secrets only.

A secret has 256 random bits, so that one SHA-256 of it is as good as a slow hash of a password
would be, and is all that a look-up costs.
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

from plugind.acl.blocks import BLOCK_MAXIMUM, Findings, header, parted, shown
from plugind.config.hcl import read_file
from plugind.config.tree import Attribute, Block, Body, Place
from plugind.errors import ConfigError
from plugind.fields import format_time, is_node_id, parse_time

CLIENT, MANAGEMENT = "client", "management"
TYPES = (CLIENT, MANAGEMENT)
NAME_MAXIMUM = 256
FILE_MAXIMUM = 4 * 1024 * 1024
"""Bytes of a file of tokens: some 20,000 of them."""

_SETTINGS = ("accessor", "hash", "type", "policies", "expires")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_WRITE = 'write token "NAME" { ... }'
_SECRET = re.compile("[0-9A-Za-z_-]{32,}")  # what looks like one
_QUOTED = re.compile(r"(['\"]).*\1")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``policies`` are names, in order, each once; some may not exist."""

    accessor: str
    name: str
    type: str
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """A caller and what its secret is known by. ``expires`` is in nanoseconds since the epoch."""

    caller: Caller
    hash: bytes = field(repr=False)
    expires: int | None = None

    def is_valid(self, now: int) -> bool:
        return self.expires is None or now < self.expires


def digest(secret: str) -> bytes:
    """What a secret is known by."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def draw(
    name: str, type_: str, policies: Collection[str], expires: int | None
) -> tuple[str, Token]:
    """A new token and its secret, which is not to be had from it. Without a name it gets one."""
    secret, accessor = secrets.token_hex(32), str(uuid.uuid4())
    caller = Caller(accessor, name or accessor[:8], type_, tuple(sorted(set(policies))))
    return secret, Token(caller, digest(secret), expires)


def is_name(text: str) -> bool:
    return 0 < len(text) <= NAME_MAXIMUM and text.isprintable()


def block(token: Token) -> str:
    """The token as it stands in a file."""
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
    """Printable text in quotes, in which HCL sees no expression."""
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted.replace("${", "\\u0024{").replace("%{", "\\u0025{")


def read_tokens(
    file: Path, policies: Collection[str], findings: Findings
) -> tuple[str, Mapping[bytes, Token]]:
    """The text of a file of tokens, and these by hash; what is wrong goes to ``findings``. No
    mistake repeats an accessor, a hash or a name that may be a secret in the wrong place, nor what
    the parser stumbles over."""
    try:
        text, body = read_file(file, FILE_MAXIMUM, BLOCK_MAXIMUM)
    except ConfigError as error:
        findings.mistakes += [
            Place(told.source, told.line, told.column).mistake(
                _masked(_QUOTED.sub("...", told.text))
            )
            for told in error.mistakes
        ]
        return "", {}
    return text, _Reader(policies, _Discreet(findings)).tokens(body)


class _Discreet(Findings):
    """Takes what is found, and repeats no secret."""

    def __init__(self, findings: Findings) -> None:
        self.mistakes, self.warnings = findings.mistakes, findings.warnings

    def add(self, place: Place, text: str) -> None:
        super().add(place, _masked(text))

    def warn(self, place: Place, text: str) -> None:
        super().warn(place, _masked(text))


def _masked(text: str) -> str:
    return _SECRET.sub("...", text)


class _Reader:
    """Reads the tokens of one file."""

    def __init__(self, policies: Collection[str], findings: Findings) -> None:
        self._policies = policies
        self._findings = findings
        self._seen: dict[str | bytes, Place] = {}
        self._missed: set[str] = set()

    def tokens(self, body: Body) -> dict[bytes, Token]:
        attributes, blocks = parted(body, {"token": True})
        for attribute in attributes:
            if attribute.name == "token":
                self._findings.add(attribute.place, f"token is a block: {_WRITE}")
            else:
                self._findings.unknown(attribute.place, "block", attribute.name, ["token"])
        tokens = [token for each in blocks for token in self._token(each)]
        return {token.hash: token for token in tokens}

    def _token(self, block: Block) -> Iterator[Token]:
        if block.type != "token":
            self._findings.unknown(block.place, "block", block.type, ["token"])
            return
        if len(block.labels) != 1 or not is_name(block.labels[0]):
            text = f"token needs one name, of 1 to {NAME_MAXIMUM} printable characters"
            self._findings.add(block.place, f"{text}: {_WRITE}")
            return
        attributes, inner = parted(block.body, {})
        for each in inner:
            self._findings.unknown(each.place, "block", each.type, _SETTINGS, header(block))
        found = self._findings.attributes(attributes, header(block), _SETTINGS)
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
            self._findings.add(attribute.place, text)
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
            self._findings.add(attribute.place, text)
            return b""
        hash = bytes.fromhex(match[1])
        self._once(hash, attribute)
        return hash

    def _text(self, block: Block, name: str, attribute: Attribute | None) -> str | None:
        """The text of a setting that must be there; None when it is not, which is told."""
        if attribute is None:
            self._findings.add(block.place, f"{header(block)} lacks {name}")
        elif not isinstance(attribute.value, str):
            self._findings.add(attribute.place, f"{name} must be text in quotes")
        else:
            return attribute.value
        return None

    def _once(self, value: str | bytes, attribute: Attribute) -> None:
        if value in self._seen:
            line = self._seen[value].line
            text = f"this {attribute.name} stands in line {line} already; each token has its own"
            self._findings.add(attribute.place, text)
        self._seen.setdefault(value, attribute.place)

    def _type(self, attribute: Attribute | None) -> str:
        if attribute is None or attribute.value in TYPES:
            return CLIENT if attribute is None else str(attribute.value)
        self._findings.add(attribute.place, f'type must be "{CLIENT}" or "{MANAGEMENT}"')
        return ""

    def _named(self, block: Block, type_: str, attribute: Attribute | None) -> tuple[str, ...]:
        """The names of the token's policies."""
        names = self._findings.texts(attribute)
        if names and attribute and type_ == MANAGEMENT:
            text = "a management token may do everything: take its policies away, or its type"
            self._findings.add(attribute.place, text)
        elif not names and type_ == CLIENT:
            self._findings.warn(block.place, f"{header(block)} names no policy: it grants nothing")
        for name, place in names:
            if name not in self._policies and name not in self._missed:
                self._missed.add(name)
                text = f'there is no policy "{shown(name)}": it grants nothing'
                self._findings.warn(place, text)
        return tuple(sorted({name for name, _ in names}))

    def _expires(self, attribute: Attribute | None) -> int | None:
        if attribute is None:
            return None
        try:
            return parse_time(attribute.value)
        except (ValueError, TypeError):
            text = "expires must be an RFC 3339 time, such as 2026-01-31T23:00:00Z"
            self._findings.add(attribute.place, text)
            return None
