"""Any text in policy and token files either loads, or its mistakes are reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugind.acl import load_acl
from plugind.acl.vocabulary import KINDS
from plugind.errors import ConfigError, Mistake
from tests.acl.support import TYPES

words = st.sampled_from(
    [
        *KINDS,
        *("policy", "capabilities", "variables", "path", "token", "accessor", "hash", "type"),
        *("policies", "expires", "read", "deny", "disk-list-plugin", "management", "default", "*"),
        *("", "a b", "a\n", "/x", "3f2a1b9c-0d4e-4f5a-8b6c-7d8e9f0a1b2c", f"sha256:{'0' * 64}"),
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)
files = st.dictionaries(words, values, max_size=4)


def hcl(value: Any) -> str:
    """Write a value as HCL."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {hcl(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(hcl, value)) + "]"
    return json.dumps(value)


def as_blocks(given: dict[str, Any]) -> str:
    """Write objects as blocks if HCL has a block of that name, all else as attributes."""
    lines = []
    for name, value in given.items():
        if isinstance(value, dict) and name.isidentifier():
            lines.append(f"{name} {{\n{as_blocks(value)}}}")
            lines += [f"{name} {json.dumps(label)} {{}}" for label in value]
        elif name.isidentifier():
            lines.append(f"{name} = {hcl(value)}")
    return "".join(f"{line}\n" for line in lines)


def loaded(folder: Path, tokens: Path) -> tuple[list[Mistake], set[str]]:
    """Return the mistakes or warnings, and the names of the policies."""
    try:
        acl = load_acl(folder, tokens, TYPES)
    except ConfigError as error:
        return list(error.mistakes), set()
    return list(acl.warnings), set(acl.policies)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(files, files)
def test_it_loads_or_is_reported(
    tmp_path: Path, policy: dict[str, Any], token: dict[str, Any]
) -> None:
    folder = tmp_path / "policies"
    folder.mkdir(exist_ok=True)
    (folder / "a.json").write_text(json.dumps(policy))
    (folder / "b.hcl").write_text(as_blocks(policy))
    for name, text in {"t.json": json.dumps(token), "t.hcl": as_blocks(token)}.items():
        (tmp_path / name).write_text(text)
        found, policies = loaded(folder, tmp_path / name)
        assert found or policies == {"a", "b"}
        for mistake in found:
            assert len(str(mistake).splitlines()) == 1
            assert mistake.line >= 1
