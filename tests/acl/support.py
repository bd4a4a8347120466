"""Plugin types that policies name, and short functions for loading policies and tokens."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from plugind.acl import Acl, load_acl
from plugind.errors import ConfigError
from plugind.plugin_type import PluginType, WireSchema


class DiskType(PluginType):
    name = "disk"
    roles = {"node": "Nodes"}  # noqa: RUF012
    default_role = "node"
    fingerprint_schemas = {"node": WireSchema}  # noqa: RUF012
    capabilities = ("disk-mount-volume",)


class NetType(PluginType):
    name = "net"
    roles = {"node": "Nodes"}  # noqa: RUF012
    default_role = "node"
    fingerprint_schemas = {"node": WireSchema}  # noqa: RUF012


TYPES = (DiskType(), NetType())
_ACCESSORS = itertools.count(1)  # the same in every process that collects the tests


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """Write policy files into a folder, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def policies(folder: Path, types: Iterable[PluginType] = TYPES, **files: str) -> Acl:
    """Load policies: ``reader='node {...}'`` is the file ``reader.hcl``."""
    named = {f"{name}.hcl": text for name, text in files.items()}
    return load_acl(write(folder / "policies", named), None, types)


def tokens(folder: Path, text: str, **files: str) -> Acl:
    """Load policies and a file of tokens."""
    folder.mkdir(exist_ok=True)
    file = folder / "tokens.hcl"
    file.write_text(text)
    named = {f"{name}.hcl": text for name, text in files.items()}
    return load_acl(write(folder / "policies", named), file, TYPES)


def token(secret: str, **settings: str) -> str:
    """Return the block of a token; ``settings`` are HCL, and missing ones are generated."""
    hash = hashlib.sha256(secret.encode()).hexdigest()
    made_up = {"accessor": f'"{uuid.UUID(int=next(_ACCESSORS))}"', "hash": f'"sha256:{hash}"'}
    lines = (f"  {name} = {value}\n" for name, value in {**made_up, **settings}.items() if value)
    return f'token "a name" {{\n{"".join(lines)}}}\n'


def mistakes_of(raised: pytest.ExceptionInfo[ConfigError]) -> list[str]:
    """Return the mistakes, with file names in place of paths."""
    found = raised.value.mistakes
    assert list(found) == sorted(found)
    assert all("\n" not in mistake.text for mistake in found)
    return [str(mistake).replace(f"{Path(mistake.source).parent}/", "") for mistake in found]
