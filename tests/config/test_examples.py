"""The examples in conf/ and the reference in docs/ are correct."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from plugind.acl import acl_of
from plugind.config.loading import load
from plugind.config.reference import core_reference, table
from plugind.config.settings import PluginTypeChoice, Settings
from plugind.types.registry import Registry, load_registry
from tests.config.support import DiskTypeSchema
from tests.processes import machine
from tests.support import eventually

ROOT = Path(__file__).parent.parent.parent
THREE_SERVERS = ROOT / "conf/three-servers"
EXAMPLES = sorted({*(ROOT / "conf").glob("*/*.hcl")} - {*THREE_SERVERS.glob("*.hcl")})

NO_DEFAULT = {"token_file", "ca_file", "cert_file", "key_file", "name", "access_log"}
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


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_example_of_three_servers_loads(number: int) -> None:
    files = [THREE_SERVERS / "server.hcl", THREE_SERVERS / f"server-{number}.hcl"]
    found = load(files, environ={}, flags={}, plugins=real_plugins)
    assert (found.name, found.store.name) == (f"server-{number}", "etcd")
    assert loaded(THREE_SERVERS / "agent.hcl").client.servers[number - 1] == (
        f"http://{found.bind_addr}:{found.ports.http}"
    )


@pytest.mark.parametrize(
    "path", [*EXAMPLES, THREE_SERVERS / "server.hcl"], ids=lambda path: path.name
)
def test_its_comments_show_the_defaults(path: Path, tmp_path: Path) -> None:
    text, count = _COMMENTED.subn(uncommented, path.read_text())
    assert count >= 5
    written_out = tmp_path / path.name
    written_out.write_text(text)
    assert replace(loaded(written_out), type_blocks={}) == replace(loaded(path), type_blocks={})


def test_settings_in_their_comments_load_too(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conf", tmp_path, dirs_exist_ok=True)
    for path in EXAMPLES:
        shown = _SHOWN.sub(r"\1", path.read_text())
        (tmp_path / path.relative_to(ROOT / "conf")).write_text(shown)
    (declared,) = loaded(tmp_path / "single").declarations
    assert set(declared.expected.values()) == {1}
    blocks = loaded(tmp_path / "agent").type_blocks
    assert blocks["csi"]["sockets"] == ["/srv/csi/*.sock"]
    assert blocks["csi"]["instance"]["nfs"]["role"] == "node"
    assert blocks["exec"]["check"]["disk"]["command"][1:] == ["-w", "10%", "-c", "5%"]


def test_the_policies_that_come_along_can_be_switched_on_as_they_are(tmp_path: Path) -> None:
    """Use the example policies in a copy of the whole folder, as an operator would make one."""
    shutil.copytree(ROOT / "conf", tmp_path, dirs_exist_ok=True)
    file = tmp_path / "server/server.hcl"
    file.write_text(_SHOWN.sub(r"\1", file.read_text()))
    acl = acl_of(loaded(tmp_path / "server").acl, load_registry().types.values())
    assert sorted(acl.policies) == ["agent", "dashboard", "team"]
    assert (acl.enabled, acl.tokens, acl.warnings) == (True, {}, ())


@pytest.mark.parametrize("role", ["agent", "server", "single"])
def test_an_example_starts_as_it_stands(role: str, tmp_path: Path) -> None:
    """Start an example unchanged except for its data folder, its port and its plugins' sockets."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    with machine(tmp_path) as here:
        process = here.start(
            *("agent", "--config", tmp_path / "conf" / role, "--data-dir", tmp_path / "data"),
            *("--ports-http", "0"),
            environ={
                "PLUGIND_PLUGIN_TYPE_CSI_SOCKETS": str(tmp_path / "*.sock"),
                # The agent's servers are only examples: their names are not looked up here.
                **({"PLUGIND_CLIENT_SERVERS": "http://127.0.0.1:1"} if role == "agent" else {}),
            },
        )
        events = {"agent": ["watching"], "server": ["serving"], "single": ["serving", "watching"]}
        for event in events[role]:
            eventually(lambda event=event: f"event={event}" in process.logged)
        assert "may not work as meant" not in process.logged
        assert process.stop() == 0


def test_the_reference_is_up_to_date() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text()
    assert written == core_reference(), "make it again as plugind.config.reference says"


def test_a_type_can_describe_its_settings() -> None:
    rows = table(DiskTypeSchema()).splitlines()
    assert '| `sockets` | list of path | `["/run/disk/*.sock"]` | globs |' in rows
