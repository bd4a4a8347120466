"""The examples in conf/ and the reference in docs/ say what is true."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from plugind.config import PluginTypeChoice, Settings, load
from plugind.config.reference import core_reference, table
from plugind.registry import Registry, load_registry
from tests.config.support import DiskTypeSchema

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "conf").glob("*.hcl"))

NO_DEFAULT = {"token_file", "ca_file", "name", "access_log"}
_COMMENTED = re.compile(r"^( *)# ((\w+) *= .+)$", re.MULTILINE)

# Three spaces: something to try, that differs from the default.
_SHOWN = re.compile(r"^ *#   (?!plugind )(.+)$", re.MULTILINE)


def real_plugins(choice: PluginTypeChoice, asked: Collection[str]) -> Registry:
    return load_registry().choose(choice.enabled, choice.disabled)


def loaded(path: Path) -> Settings:
    return load([path], environ={}, flags={}, plugins=real_plugins)


def uncommented(match: re.Match[str]) -> str:
    return match[0] if match[3] in NO_DEFAULT else match[1] + match[2]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_loads(path: Path) -> None:
    found = loaded(path)
    assert found.data_dir == Path("/var/lib/plugind")
    roles = {
        "single.hcl": (True, True),
        "server.hcl": (True, False),
        "agent.hcl": (False, True),
    }
    assert (found.server.enabled, found.client.enabled) == roles[path.name]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_its_comments_show_the_defaults(path: Path, tmp_path: Path) -> None:
    text, count = _COMMENTED.subn(uncommented, path.read_text())
    assert count >= 5
    written_out = tmp_path / path.name
    written_out.write_text(text)
    assert replace(loaded(written_out), type_blocks={}) == replace(loaded(path), type_blocks={})


def test_what_they_show_in_comments_loads_too(tmp_path: Path) -> None:
    for path in EXAMPLES:
        shown = _SHOWN.sub(r"\1", path.read_text())
        (tmp_path / path.name).write_text(shown)
    (declared,) = loaded(tmp_path / "single.hcl").declarations
    assert set(declared.expected.values()) == {1}
    blocks = loaded(tmp_path / "agent.hcl").type_blocks
    assert blocks["csi"]["sockets"] == ["/srv/csi/*.sock"]
    assert blocks["csi"]["instance"]["nfs"]["role"] == "node"
    assert blocks["exec"]["check"]["disk"]["command"][1:] == ["-w", "10%", "-c", "5%"]


def test_the_reference_is_up_to_date() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text()
    assert written == core_reference(), "make it anew as plugind.config.reference says"


def test_a_type_can_describe_its_settings() -> None:
    rows = table(DiskTypeSchema()).splitlines()
    assert '| `sockets` | list of path | `["/run/disk/*.sock"]` | globs |' in rows
