"""Packages as they come: sound, broken in every way, and two that claim one name.

Each is really there: a module and its metadata in a folder of ``sys.path``, as pip leaves them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from plugind import __version__
from plugind.errors import RegistryError
from plugind.registry import Packages, load_registry, plugin_type
from tests.processes import PLUGIND, machine

SOUND = """
from marshmallow import fields, validates_schema
from plugind.plugin_type import PluginType, WireSchema, hookimpl

class Demanding(WireSchema):
    Size = fields.Integer(required=True)

class Faulty(WireSchema):
    @validates_schema
    def check(self, data, **more):
        data["Nope"]

class Type(PluginType):
    plugind_api = 1
    name = "{name}"
    roles = {{"node": "Nodes"}}
    default_role = "node"
    fingerprint_schemas = {{"node": WireSchema}}

@hookimpl
def plugind_plugin_types():
    return [Type()]
"""


class Installer:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, dist: str, name: str, source: str) -> None:
        module = dist.replace("-", "_")
        (self.folder / f"{module}.py").write_text(source)
        info = self.folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[plugind]\n{name} = {module}\n")


@pytest.fixture
def installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installer:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield Installer(tmp_path)
    for name in set(sys.modules) - before:
        if name.startswith("plugind_t_"):
            del sys.modules[name]


def test_the_built_in_ones_come_the_same_way() -> None:
    registry = load_registry()
    assert {"csi"} <= set(registry.types)
    assert {"sqlite"} <= set(registry.stores)
    assert registry.origins["csi"] == ("plugind", __version__)
    assert registry.problems == {}


def test_a_strangers_type_is_there_with_its_origin(installer: Installer) -> None:
    installer.install("plugind-t-lamp", "lamp", SOUND.format(name="lamp"))
    registry = load_registry()
    assert registry.types["lamp"].default_role == "node"
    assert str(registry.origins["lamp"]) == "plugind-t-lamp 1.0"
    assert plugin_type("lamp") is not None


BROKEN = {
    "import": ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
    "exit": ("raise SystemExit('no licence')", "SystemExit: no licence"),
    "syntax": ("def (", "SyntaxError"),
    "hook": (
        "from plugind.plugin_type import hookimpl\n@hookimpl\ndef plugind_plugin_type(): ...",
        "plugind_plugin_type",
    ),
    "signature": (
        "from plugind.plugin_type import hookimpl\n@hookimpl\ndef plugind_plugin_types(x): ...",
        "plugind_plugin_types",
    ),
    "raises": (
        "from plugind.plugin_type import hookimpl\n"
        "@hookimpl\ndef plugind_plugin_types():\n    raise ValueError('in the hook')",
        "in the hook",
    ),
    "newer": (
        SOUND.format(name="lamp").replace("plugind_api = 1", "plugind_api = 2"),
        "Type was made for version 2 of the contract for plugin types, "
        f"plugind {__version__} has version 1: upgrade plugind",
    ),
    "older": (
        SOUND.format(name="lamp").replace("plugind_api = 1", "plugind_api = 0"),
        "upgrade the package",
    ),
    "of no version": (SOUND.format(name="lamp").replace("plugind_api", "api"), "plugind_api = 1"),
}


@pytest.mark.parametrize("how", sorted(BROKEN))
def test_a_broken_package_is_named_and_takes_nobody_with_it(installer: Installer, how: str) -> None:
    source, told = BROKEN[how]
    installer.install("plugind-t-lamp", "lamp", source)
    installer.install("plugind-t-sound", "sound", SOUND.format(name="sound"))
    registry = load_registry()
    assert {"csi", "sound"} <= set(registry.types)
    assert "lamp" not in registry.types
    assert "plugind-t-lamp 1.0" in registry.problems["lamp"]
    assert told in registry.problems["lamp"]
    with pytest.raises(RegistryError, match="plugind-t-lamp"):
        plugin_type("lamp")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('name = "lamp"', 'name = "La mp"', "no name for a type"),
        ('default_role = "node"', 'default_role = "pilot"', "'pilot'"),
        ('roles = {"node": "Nodes"}', "roles = {}", "roles must"),
        ('roles = {"node": "Nodes"}', 'roles = {"node": "no des"}', "roles must"),
        ('{"node": WireSchema}', "{}", "no schema for the role 'node'"),
        ('{"node": WireSchema}', '{"node": Demanding}', "'Size': ['Missing data"),
        ('{"node": WireSchema}', '{"node": Faulty}', "KeyError: 'Nope'"),
        ("    default_role", "    other", "default_role"),
        (
            "    default_role",
            '    capabilities = ("lamp-dim", "net-list")\n    default_role',
            "'lamp-'",
        ),
        ("    default_role", "    capabilities = 5\n    default_role", "'lamp-'"),
        ("    default_role", "    capabilities = (5,)\n    default_role", "'lamp-'"),
        ('name = "lamp"', "name = 5", "5 is no name for a type"),
        ('roles = {"node": "Nodes"}', 'roles = ["node"]', "roles must"),
        ("[Type()]", "5", "plugind_plugin_types: TypeError"),
        ("[Type()]", "map(int, 'x')", "plugind_plugin_types: ValueError"),
        ("[Type()]", "[Type]", "no PluginType"),
        ("[Type()]", "[5]", "no PluginType"),
    ],
)
def test_a_type_that_is_not_sound(installer: Installer, old: str, new: str, told: str) -> None:
    source = SOUND.format(name="lamp")
    assert old in source
    installer.install("plugind-t-lamp", "lamp", source.replace(old, new))
    registry = load_registry()
    assert "csi" in registry.types
    assert "lamp" not in registry.types
    assert any(told in problem for problem in registry.problems.values()), registry.problems


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ('["mine"]', "plugind_stores: AttributeError"),
        ('{"mine": object}', "no subclass of Store"),
        ('{"mine": 5}', "no subclass of Store"),
        ("{5: Mine}", "5 is no name for a store"),
        ('{"mine": Mine}', "Mine lacks settings_schema"),
    ],
)
def test_a_store_that_is_not_sound(installer: Installer, answer: str, told: str) -> None:
    source = (
        "from plugind.plugin_type import hookimpl\nfrom plugind.store.base import Store\n"
        "class Mine(Store): ...\n@hookimpl\ndef plugind_stores():\n    return "
    )
    installer.install("plugind-t-disk", "disk", source + answer)
    registry = load_registry()
    assert set(registry.stores) == {"sqlite"}
    assert "csi" in registry.types
    assert any(told in problem for problem in registry.problems.values()), registry.problems


def test_of_two_with_one_name_neither_is_used_and_both_are_named(installer: Installer) -> None:
    installer.install("plugind-t-one", "lamp", SOUND.format(name="lamp"))
    installer.install("plugind-t-two", "lamp", SOUND.format(name="lamp"))
    registry = load_registry()
    assert "lamp" not in registry.types
    assert "plugind-t-one 1.0" in registry.problems["lamp"]
    assert "plugind-t-two 1.0" in registry.problems["lamp"]
    assert "csi" in registry.types


def test_types_can_be_chosen() -> None:
    registry = load_registry()
    without = registry.choose(None, ("csi",))
    assert "csi" not in without.types
    assert "disabled" in without.problems["csi"]
    assert set(registry.choose(("csi",), ()).types) == {"csi"}
    assert registry.choose(None, ()).types == registry.types


def test_the_list_says_what_is_not_used_and_why(installer: Installer) -> None:
    installer.install("plugind-t-ink", "ink", "raise RuntimeError('no luck')")
    installer.install("plugind-t-one", "lamp", SOUND.format(name="lamp"))
    installer.install("plugind-t-two", "lamp", SOUND.format(name="lamp"))
    needy = SOUND.format(name="needy").replace("    default_role", f"{NEEDY}\n    default_role")
    installer.install("plugind-t-needy", "needy", needy)
    newer = SOUND.format(name="newer").replace("plugind_api = 1", "plugind_api = 2")
    installer.install("plugind-t-newer", "newer", newer)
    installer.install("plugind-t-sound", "sound", SOUND.format(name="sound"))
    environ = {"PYTHONPATH": str(installer.folder), "PLUGIND_PLUGIN_TYPES_DISABLED": "sound"}
    done = listed("--all", "--json", **environ)
    assert (done.returncode, done.stderr) == (0, "")
    found = {(row["Distribution"], row["Name"]): row for row in json.loads(done.stdout)}
    states = {key: (row["Version"], row["Status"]) for key, row in found.items()}
    assert states == {
        ("plugind", "cni"): (__version__, "active"),
        ("plugind", "csi"): (__version__, "active"),
        ("plugind", "exec"): (__version__, "active"),
        ("plugind-t-ink", "ink"): ("1.0", "broken"),
        ("plugind-t-needy", "needy"): ("1.0", "broken"),
        ("plugind-t-newer", "newer"): ("1.0", "broken"),
        ("plugind-t-one", "lamp"): ("1.0", "broken"),
        ("plugind-t-sound", "sound"): ("1.0", "disabled"),
        ("plugind-t-two", "lamp"): ("1.0", "broken"),
    }
    told = {dist: row["Reason"] for (dist, _), row in found.items()}
    assert told["plugind-t-ink"] == "RuntimeError: no luck"
    assert "plugin_type.needy.licence is missing" in told["plugind-t-needy"]
    assert "upgrade plugind" in told["plugind-t-newer"]
    assert "plugind-t-two 1.0 brings a plugin type 'lamp' too" in told["plugind-t-one"]
    assert told["plugind"] == ""
    table = listed(**environ).stdout
    assert [line.split()[0] for line in table.splitlines()] == ["Name", "cni", "csi", "exec"]


NEEDY = """
    from marshmallow import fields
    from plugind.plugin_type import SettingsSchema
    settings_schema = SettingsSchema.from_dict({"licence": fields.String(required=True)})
"""


def listed(*options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PLUGIND, "type", "list", *options],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_what_is_broken_keeps_nobody_from_serving(installer: Installer) -> None:
    """A server starts, says which distribution it does without and why, and serves the rest."""
    installer.install("plugind-t-ink", "ink", "raise RuntimeError('no luck')")
    newer = SOUND.format(name="newer").replace("plugind_api = 1", "plugind_api = 2")
    installer.install("plugind-t-newer", "newer", newer)
    installer.install("plugind-t-sound", "sound", SOUND.format(name="sound"))
    with machine(installer.folder) as house:
        server, client = house.server(environ={"PYTHONPATH": str(installer.folder)})
        names = [row["Name"] for row in client.plugin_types().value]
        assert names == ["cni", "csi", "exec", "sound"]
        assert client.plugins("sound").value == []
        assert "plugind-t-ink 1.0 cannot be used: RuntimeError: no luck" in server.logged
        assert "plugind-t-newer 1.0 cannot be used: Type was made for version 2" in server.logged


def test_packages_bring_commands(installer: Installer) -> None:
    installer.install(
        "plugind-t-lamp",
        "lamp",
        "import click\nfrom plugind.plugin_type import hookimpl\n"
        "@hookimpl\ndef plugind_commands(group):\n"
        "    group.add_command(click.Command('lamp', callback=lambda: click.echo('lit')))",
    )
    group = click.Group()
    Packages().add_commands(group)
    assert {"csi-sample", "lamp"} <= set(group.commands)


def test_calls_of_hooks_are_traced_where_that_is_asked_for(installer: Installer) -> None:
    source, _ = BROKEN["raises"]
    installer.install("plugind-t-lamp", "lamp", source)
    environ = {"PYTHONPATH": str(installer.folder)}
    quiet, traced = listed(**environ), listed(**environ, PLUGIND_TRACE_HOOKS="1")
    assert (quiet.stderr, quiet.stdout) == ("", traced.stdout)
    lines = [line for line in traced.stderr.splitlines() if "hook=plugind_plugin_types" in line]
    lamp = [line for line in lines if 'package="lamp of plugind-t-lamp 1.0"' in line]
    assert 'event="hook called"' in lamp[0]
    assert 'event="hook raised"' in lamp[1]
    assert 'error="ValueError: in the hook"' in lamp[1]
    assert any("result=" in line and "CsiType object" in line for line in lines)
