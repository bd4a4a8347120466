"""Packages of every kind: sound ones, broken ones, and two that claim the same name.

Each really exists: a module and its metadata in a folder of ``sys.path``, as pip leaves them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import click
import pytest
import requests

from plugind import __version__
from plugind.client import Client
from plugind.errors import RegistryError
from plugind.types.registry import Packages, load_registry, plugin_type
from plugind.types.stray_output import stdout_to_stderr
from tests.processes import PLUGIND, machine
from tests.promises import COMMAND_MAXIMUM, PATIENCE
from tests.support import eventually

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
        if name.startswith(("plugind_t_", "a_t_")):
            del sys.modules[name]


def test_the_built_in_ones_come_the_same_way() -> None:
    registry = load_registry()
    assert {"csi"} <= set(registry.types)
    assert {"sqlite"} <= set(registry.stores)
    assert registry.origins["csi"] == ("plugind", __version__)
    assert registry.problems == {}


def test_a_third_party_type_is_there_with_its_origin(installer: Installer) -> None:
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
    "of a version in words": (
        SOUND.format(name="lamp").replace("plugind_api = 1", 'plugind_api = "1"'),
        "plugind_api is the text '1'; it must be the number 1",
    ),
    "of a version that is no number": (
        SOUND.format(name="lamp").replace("plugind_api = 1", "plugind_api = True"),
        "plugind_api is True; it must be the number 1",
    ),
    "without hooks": ("x = 1", "its module has no function marked @hookimpl"),
    "unmarked": (
        SOUND.format(name="lamp").replace("@hookimpl\n", ""),
        "no function marked @hookimpl: put it above plugind_plugin_types",
    ),
    "unmarked beside a marked one": (
        SOUND.format(name="lamp").replace("@hookimpl\n", "")
        + "\n@hookimpl\ndef plugind_commands(group): ...\n",
        "its function plugind_plugin_types is not marked @hookimpl",
    ),
    "returns nothing": (
        SOUND.format(name="lamp").replace("return [Type()]", "[Type()]"),
        "plugind_plugin_types returned None",
    ),
    "of no version": (SOUND.format(name="lamp").replace("plugind_api", "api"), "plugind_api = 1"),
}


@pytest.mark.parametrize("how", sorted(BROKEN))
def test_a_broken_package_is_named_and_breaks_no_other(installer: Installer, how: str) -> None:
    source, wanted = BROKEN[how]
    installer.install("plugind-t-lamp", "lamp", source)
    installer.install("plugind-t-sound", "sound", SOUND.format(name="sound"))
    registry = load_registry()
    assert {"csi", "sound"} <= set(registry.types)
    assert "lamp" not in registry.types
    assert "plugind-t-lamp 1.0" in registry.problems["lamp"]
    assert wanted in registry.problems["lamp"]
    with pytest.raises(RegistryError, match="plugind-t-lamp"):
        plugin_type("lamp")


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
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
        ("[Type()]", "[Type]", "not a PluginType"),
        ("[Type()]", "[5]", "not a PluginType"),
    ],
)
def test_a_type_that_is_not_sound(installer: Installer, old: str, new: str, wanted: str) -> None:
    source = SOUND.format(name="lamp")
    assert old in source
    installer.install("plugind-t-lamp", "lamp", source.replace(old, new))
    registry = load_registry()
    assert "csi" in registry.types
    assert "lamp" not in registry.types
    assert any(wanted in problem for problem in registry.problems.values()), registry.problems


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ('["mine"]', "plugind_stores: AttributeError"),
        ('{"mine": object}', "not a subclass of Store"),
        ('{"mine": 5}', "not a subclass of Store"),
        ("{5: Mine}", "5 is no name for a store"),
        ('{"mine": Mine}', "Mine lacks settings_schema"),
    ],
)
def test_a_store_that_is_not_sound(installer: Installer, answer: str, wanted: str) -> None:
    source = (
        "from plugind.plugin_type import hookimpl\nfrom plugind.store.base import Store\n"
        "class Mine(Store): ...\n@hookimpl\ndef plugind_stores():\n    return "
    )
    installer.install("plugind-t-disk", "disk", source + answer)
    registry = load_registry()
    assert set(registry.stores) == {"sqlite", "etcd"}
    assert "csi" in registry.types
    assert any(wanted in problem for problem in registry.problems.values()), registry.problems


def test_two_with_one_name_are_both_named_and_not_used(installer: Installer) -> None:
    installer.install("plugind-t-one", "lamp", SOUND.format(name="lamp"))
    installer.install("plugind-t-two", "lamp", SOUND.format(name="lamp"))
    registry = load_registry()
    assert "lamp" not in registry.types
    assert "plugind-t-one 1.0" in registry.problems["lamp"]
    assert "plugind-t-two 1.0" in registry.problems["lamp"]
    assert "csi" in registry.types


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("csi", SOUND.format(name="csi")),
        (
            "sqlite",
            "from plugind.fields import Record\nfrom plugind.plugin_type import hookimpl\n"
            "from plugind.store.base import Store\n"
            "class Mine(Store):\n    settings_schema = Record\n"
            "@hookimpl\ndef plugind_stores():\n    return {'sqlite': Mine}\n",
        ),
    ],
)
def test_a_package_cannot_take_the_name_of_a_built_in_one(
    installer: Installer, name: str, source: str
) -> None:
    before = load_registry()
    installer.install("a-t-usurper", name, source)
    registry = load_registry()
    assert registry.types.keys() == before.types.keys()
    assert registry.stores == before.stores
    assert type(registry.types["csi"]) is type(before.types["csi"])
    assert registry.origins[name] == ("plugind", __version__)
    assert registry.problems == {}, "nothing is missing"
    (line,) = registry.broken
    assert line.startswith(f"{name}: a-t-usurper 1.0 cannot be used: the ")
    assert f"{name!r} is built into plugind; give it another name" in line


def test_unused_packages_are_named_by_the_list_and_by_health(installer: Installer) -> None:
    """Name, in the list and in health, a package without plugins and one that reuses a built-in
    name."""
    installer.install("plugind-t-csi", "csi", SOUND.format(name="csi"))
    installer.install("plugind-t-lamp", "lamp", "x = 1")
    with machine(installer.folder) as harness:
        environ = {"PYTHONPATH": str(installer.folder)}
        server, client = harness.server(environ=environ)
        assert client.plugins("csi").value == []
        health = requests.get(f"{client.address}/v1/agent/health?verbose", timeout=PATIENCE)
        assert health.status_code == 200
        wanted = {
            "csi: plugind-t-csi 1.0 cannot be used: the plugin type 'csi' is built into plugind",
            "lamp: plugind-t-lamp 1.0 cannot be used: its module has no function marked @hookimpl",
        }
        assert [text for text in wanted if text not in health.text] == []
        assert [text for text in wanted if text.partition(": ")[2] not in server.logged] == []
        rows = json.loads(listed("--all", "--json", **environ).stdout)
        found = {(row["Name"], row["Distribution"]): row["Status"] for row in rows}
        assert found["csi", "plugind"] == "active"
        assert found["csi", "plugind-t-csi"] == found["lamp", "plugind-t-lamp"] == "broken"


TALKATIVE = """
import os
import sys
from dataclasses import dataclass
from plugind.plugin_type import Prober, Settings, SettingsSchema, PluginType, WireSchema, hookimpl

def say(words):
    print(words)
    os.write(1, f"{words} from below\\n".encode())
    os.system(f"echo {words} from a child")
    sys.__stdout__.write(f"{words} at the end\\n")

say("import")

class TalkativeSchema(SettingsSchema):
    def __init__(self, *words, **more):
        say("settings")
        super().__init__(*words, **more)

class Talkative(Prober):
    def discover(self):
        print("discover")
        return {"me": 1}

    def probe(self, target):
        print("probe")
        return {("me", "node"): {"Healthy": True}}

class Type(PluginType):
    plugind_api = 1
    name = "talk"
    roles = {"node": "Nodes"}
    default_role = "node"
    fingerprint_schemas = {"node": WireSchema}
    settings_schema = TalkativeSchema

    def dev_settings(self, folder):
        say("dev_settings")
        return {}

    def summary(self, fingerprints):
        say("summary")
        return {}

    def prober(self, settings):
        say("prober")
        return Talkative()

@hookimpl
def plugind_commands(group):
    say("commands")

@hookimpl
def plugind_plugin_types():
    say("types")
    return [Type()]
"""


def test_output_of_packages_goes_to_standard_error(installer: Installer) -> None:
    installer.install("plugind-t-talk", "talk", TALKATIVE)
    installer.install("plugind-t-bad", "bad_print", 'print("hello from import", flush=True)')
    environ = {"PYTHONPATH": str(installer.folder)}
    done = listed("--all", "--json", **environ)
    assert {row["Name"] for row in json.loads(done.stdout)} >= {"csi", "talk", "bad_print"}
    for words in ("hello from import", "import from below", "import from a child", "import at"):
        assert words in done.stderr
    for words in ("types", "settings"):
        assert f"{words} from below" in done.stderr
    done = ran("--help", **environ)  # the help lists the commands of packages
    assert "commands from below" in done.stderr
    assert done.stdout.startswith("Usage: plugind")
    done = ran("type", "check", "talk", "--json", **environ)
    assert [row["Rule"] for row in json.loads(done.stdout) if not row["Passed"]] == ["documented"]
    assert "dev_settings from below" in done.stderr
    assert "summary from below" in done.stderr
    file = installer.folder / "server.hcl"
    file.write_text(f'data_dir = "{installer.folder}/data" \n server {{ enabled = true }}')
    done = ran("config", "validate", str(file), **environ)
    assert (done.stdout, done.returncode) == ("The configuration is valid.\n", 0)


def test_output_of_a_prober_is_in_the_log_and_breaks_nothing(installer: Installer) -> None:
    installer.install("plugind-t-talk", "talk", TALKATIVE)
    with machine(installer.folder) as harness:
        process = harness.start(
            *("agent", "--server-enabled", "true", "--client-enabled", "true"),
            *("--ports-http", "0", "--data-dir", harness.folder / "data", "--name", "vm"),
            *("--plugin-types-enabled", "talk"),
            environ={"PYTHONPATH": str(installer.folder)},
        )
        address = eventually(lambda: re.search(r"address=(http://\S+)", process.logged))
        client = Client(address[1])
        eventually(lambda: [row["NodesHealthy"] for row in client.plugins("talk").value] == [1])
        for words in ("discover", "probe", "prober from below"):
            eventually(lambda words=words: f"\n{words}\n" in process.logged)


def test_output_may_be_kept_away_twice_and_without_any(capfd: pytest.CaptureFixture[str]) -> None:
    def talk(name: str, began: threading.Event, goes_on: threading.Event) -> None:
        with stdout_to_stderr():
            began.set()
            goes_on.wait()
            print(name)

    gates = [(threading.Event(), threading.Event()) for _ in range(2)]
    threads = [
        threading.Thread(target=talk, args=(f"t{number}", *gates[number])) for number in range(2)
    ]
    for thread, (began, _) in zip(threads, gates, strict=True):
        thread.start()
        began.wait()
    for thread, (_, goes_on) in zip(threads, gates, strict=True):  # let the threads end in order
        goes_on.set()
        thread.join()
    print("answer")
    with suppress(KeyError), stdout_to_stderr(), stdout_to_stderr():
        print("stray")
        raise KeyError
    os.write(1, b"from below\n")
    out, err = capfd.readouterr()
    assert sorted(out.splitlines()) == ["answer", "from below"]
    assert sorted(err.splitlines()) == ["stray", "t0", "t1"]
    code = "from plugind.types.stray_output import stdout_to_stderr as s\nwith s(): print('x')"
    for closing in ("1>&-", "2>&-", "1>&- 2>&-"):
        command = f'"$0" -c "$1" {closing}'
        done = subprocess.run(["sh", "-c", command, sys.executable, code], timeout=COMMAND_MAXIMUM)
        assert done.returncode == 0, closing


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
    reasons = {dist: row["Reason"] for (dist, _), row in found.items()}
    assert reasons["plugind-t-ink"] == "RuntimeError: no luck"
    assert "plugin_type.needy.licence is missing" in reasons["plugind-t-needy"]
    assert "upgrade plugind" in reasons["plugind-t-newer"]
    assert "plugind-t-two 1.0 brings a plugin type 'lamp' too" in reasons["plugind-t-one"]
    assert reasons["plugind"] == ""
    table = listed(**environ).stdout
    assert [line.split()[0] for line in table.splitlines()] == ["Name", "cni", "csi", "exec"]


NEEDY = """
    from marshmallow import fields
    from plugind.plugin_type import SettingsSchema
    settings_schema = SettingsSchema.from_dict({"licence": fields.String(required=True)})
"""


def listed(*options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return ran("type", "list", *options, **environ)


def ran(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PLUGIND, *words],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=COMMAND_MAXIMUM,
    )


def test_broken_packages_keep_no_server_from_starting(installer: Installer) -> None:
    """Start a server despite broken distributions, and say which are broken and why."""
    installer.install("plugind-t-ink", "ink", "raise RuntimeError('no luck')")
    newer = SOUND.format(name="newer").replace("plugind_api = 1", "plugind_api = 2")
    installer.install("plugind-t-newer", "newer", newer)
    installer.install("plugind-t-sound", "sound", SOUND.format(name="sound"))
    with machine(installer.folder) as harness:
        server, client = harness.server(environ={"PYTHONPATH": str(installer.folder)})
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
