"""A whole configuration: defaults, merging, overrides, plugin types and stores, --dev."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from plugind.client import DEFAULT_ADDRESS
from plugind.config.overrides import setting_rows
from plugind.config.schemas import CoreSchema
from plugind.config.settings import ClientSettings, Ports, ServerSettings, Settings
from plugind.model import Declaration, PluginKey
from tests.config.conftest import Write
from tests.config.support import Disk, DiskSettings, Installed, NeedyType, mistakes, settings


def test_defaults_are_those_of_the_dataclasses() -> None:
    found = settings()
    assert Settings(**CoreSchema().load({})) == Settings()
    assert found.name == socket.gethostname()
    assert (found.data_dir, found.bind_addr, found.log_level) == (None, "127.0.0.1", "INFO")
    assert found.ports == Ports(http=4646)
    expected = ServerSettings(
        enabled=False, heartbeat_ttl=30.0, gc_threshold=86_400.0, max_parked=200
    )
    assert found.server == expected
    assert found.client == ClientSettings(False, (DEFAULT_ADDRESS,), "dc1", None, None)
    assert found.store.name == "sqlite"
    assert found.store.settings.path == "box.db"
    assert found.types["disk"] == DiskSettings(
        1.5, 3.0, 1, 512 << 20, 1_000, ["/run/disk/*.sock"], 3, {}
    )
    assert found.type_blocks == {"disk": {}, "net": {}}
    assert found.declarations == ()


WHOLE = """
data_dir = "data"
log_level = "warn"
log_json = true
ports { http = 0 }
server {
  enabled = true
  heartbeat_ttl = "1500ms"
}
client {
  enabled = true
  servers = ["http://a:1", "https://b"]
  token_file = "agent.token"
  ca_file = "/etc/ca.pem"
}
store "other" { path = "deep/box.db" }
plugin_type "disk" {
  sockets = ["run/*.sock", "/abs/*.sock", "unix:///x"]
  instance "nfs" {
    endpoint = "unix:///srv/nfs.sock"
    role     = "node"
  }
  instance "smb" { endpoint = "smb.sock" }
}
plugin "disk" "ebs0" {
  controllers_expected = 3
  nodes_expected       = 16
}
plugin "net" "bridge" {}
"""


def test_a_whole_file(write: Write, tmp_path: Path) -> None:
    found = settings(write("etc/a.hcl", WHOLE))
    folder = tmp_path / "etc"
    assert found.data_dir == folder / "data"
    assert (found.log_level, found.log_json, found.ports.http) == ("WARN", True, 0)
    expected = ServerSettings(
        enabled=True, heartbeat_ttl=1.5, gc_threshold=86_400.0, max_parked=200
    )
    assert found.server == expected
    servers = ("http://a:1", "https://b")
    token, ca = folder / "agent.token", Path("/etc/ca.pem")
    assert found.client == ClientSettings(True, servers, "dc1", token, ca)
    assert (found.store.name, found.store.settings.path) == ("other", f"{folder}/deep/box.db")
    disk = found.types["disk"]
    assert disk.sockets == [f"{folder}/run/*.sock", "/abs/*.sock", "unix:///x"]
    assert disk.instance == {
        "nfs": Disk("unix:///srv/nfs.sock", "node"),
        "smb": Disk(f"{folder}/smb.sock", None),
    }
    assert found.declarations == (
        Declaration(PluginKey("disk", "ebs0"), {"controller": 3, "node": 16}),
        Declaration(PluginKey("net", "bridge"), {}),
    )


def test_relative_configuration_paths_give_absolute_ones(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("etc/a.hcl", 'data_dir = "data"')
    monkeypatch.chdir(tmp_path)
    assert settings(Path("etc/a.hcl")).data_dir == tmp_path / "etc" / "data"


def test_a_type_can_load_its_block_again_from_json(write: Write) -> None:
    found = settings(write("a.hcl", WHOLE), variables={"PLUGIND_PLUGIN_TYPE_DISK_RETRIES": "7"})
    block = json.loads(json.dumps(found.type_blocks["disk"]))
    schema = Installed().types["disk"].settings_schema()
    assert schema.load(block) == found.types["disk"]
    assert found.types["disk"].retries == 7


def test_json_has_the_same_shape(write: Write) -> None:
    hcl = settings(write("a.hcl", WHOLE))
    text = {
        "data_dir": "data",
        "log_level": "warn",
        "log_json": True,
        "ports": {"http": 0},
        "server": {"enabled": True, "heartbeat_ttl": "1500ms"},
        "client": {
            "enabled": True,
            "servers": ["http://a:1", "https://b"],
            "token_file": "agent.token",
            "ca_file": "/etc/ca.pem",
        },
        "store": {"other": {"path": "deep/box.db"}},
        "plugin_type": {
            "disk": {
                "sockets": ["run/*.sock", "/abs/*.sock", "unix:///x"],
                "instance": {
                    "nfs": {"endpoint": "unix:///srv/nfs.sock", "role": "node"},
                    "smb": {"endpoint": "smb.sock"},
                },
            }
        },
        "plugin": {
            "disk": {"ebs0": {"controllers_expected": 3, "nodes_expected": 16}},
            "net": {"bridge": {}},
        },
    }
    assert settings(write("a.json", json.dumps(text))) == hcl


def test_a_later_file_wins_setting_by_setting(write: Write, tmp_path: Path) -> None:
    write(
        "conf/10.hcl",
        'region = "one"\nname = "n"\n'
        'server {\n enabled = true\n max_parked = 7\n}\nstore "other" { fast = true }\n'
        'plugin_type "disk" {\n retries = 1\n instance "a" { endpoint = "/a" }\n}\n'
        'plugin "disk" "x" { nodes_expected = 1 }\n',
    )
    write(
        "conf/20.json",
        '{"region": "two", "server": {"max_parked": 8},'
        ' "plugin_type": {"disk": {"instance": {"b": {"endpoint": "/b"}}}}}',
    )
    write("conf/.30.hcl", "nonsense")
    write("conf/30.hcl~", "nonsense")
    last = write("last.hcl", 'name = null\nplugin "disk" "x" { controllers_expected = 2 }\n')
    found = settings(tmp_path / "conf", last)
    assert found.region == "two"
    assert found.name == socket.gethostname()
    assert (found.server.enabled, found.server.max_parked) == (True, 8)
    assert (found.store.name, found.store.settings.fast) == ("other", True)
    assert found.types["disk"].retries == 1
    assert set(found.types["disk"].instance) == {"a", "b"}
    assert found.declarations[0].expected == {"node": 1, "controller": 2}


def test_the_last_file_that_names_a_store_decides(write: Write) -> None:
    a = write("a.hcl", 'store "sqlite" { path = "/a" }')
    b = write("b.hcl", 'store "other" { path = "/b" }')
    c = write("c.hcl", 'store "sqlite" { fast = true }')
    assert settings(a, b).store.name == "other"
    store = settings(a, b, c).store
    assert (store.name, store.settings.path, store.settings.fast) == ("sqlite", "/a", True)


def test_variables_over_files_and_flags_over_both(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write("etc/a.hcl", "ports { http = 1 }\nserver { max_parked = 1 }\nlog_json = true\n")
    found = settings(
        file,
        variables={
            "PATH": "/bin",
            "PLUGIND_ADDR": "x",
            "PLUGIND_TOKEN": "x",
            "PLUGIND_TRACE_HOOKS": "1",
            "PLUGIND_REGION": "",
            "PLUGIND_DATA_DIR": "here",
            "PLUGIND_PORTS_HTTP": "2",
            "PLUGIND_LOG_JSON": "0",
            "PLUGIND_SERVER_ENABLED": "TRUE",
            "PLUGIND_SERVER_MAX_PARKED": "2",
            "PLUGIND_SERVER_HEARTBEAT_TTL": "1m",
            "PLUGIND_CLIENT_SERVERS": "http://a:1, http://b:2",
            "PLUGIND_PLUGIN_TYPES_DISABLED": "net",
            "PLUGIND_PLUGIN_TYPE_DISK_SOCKETS": "a/*.sock,/b.sock",
            "PLUGIND_PLUGIN_TYPE_DISK_PROBE_INTERVAL": "5s",
            "PLUGIND_STORE_FAST": "1",
        },
        flags={"ports-http": "3", "plugin_types.enabled": "disk"},
    )
    assert found.data_dir == tmp_path / "here"
    assert (found.ports.http, found.server.max_parked, found.log_json) == (3, 2, False)
    assert (found.region, found.server.enabled, found.server.heartbeat_ttl) == ("global", True, 60)
    assert found.client.servers == ("http://a:1", "http://b:2")
    assert (found.plugin_types.enabled, found.plugin_types.disabled) == (("disk",), ("net",))
    assert list(found.types) == ["disk"]
    assert found.types["disk"].sockets == [f"{tmp_path}/a/*.sock", "/b.sock"]
    assert found.types["disk"].probe_interval == 5
    assert found.store.settings.fast is True


META = {"rack": "r7", "zone": "b"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.hcl", 'client {\n  meta {\n    rack = "r7"\n    zone = "b"\n  }\n}\n'),
        ("a.hcl", 'client { meta = { rack = "r7", "zone" = "b" } }\n'),
        ("a.json", '{"client": {"meta": {"rack": "r7", "zone": "b"}}}'),
    ],
)
def test_meta_is_a_block_or_an_object(write: Write, name: str, text: str) -> None:
    file = write(name, text)
    assert settings(file).client.meta == META
    over = write("b.hcl", 'client { meta { zone = "c" } }\n')
    assert settings(file, over).client.meta["zone"] == "c"
    flags = {"client-meta": "rack=r8, zone=b=c"}
    assert settings(file, flags=flags).client.meta == {"rack": "r8", "zone": "b=c"}
    variables = {"PLUGIND_CLIENT_META": "rack"}
    assert mistakes(file, variables=variables) == [
        "PLUGIND_CLIENT_META: client.meta must be an object, { name = value }"
    ]


def test_what_a_node_says_of_itself(write: Write) -> None:
    file = write(
        "a.hcl",
        'client {\n  node_class = "storage"\n  advertise = "10.0.0.7"\n}\n'
        'advertise { http = "[2001:db8::7]:80" }\n',
    )
    found = settings(file)
    assert (found.client.node_class, found.client.advertise) == ("storage", "10.0.0.7")
    assert found.advertise.http == "[2001:db8::7]:80"


def test_rows_for_a_command_line() -> None:
    rows = {row.flag: row for row in setting_rows()}
    ttl = rows["server-heartbeat-ttl"]
    assert (ttl.name, ttl.variable) == ("server.heartbeat_ttl", "PLUGIND_SERVER_HEARTBEAT_TTL")
    assert (ttl.type, ttl.default) == ("duration", 30.0)
    assert rows["data-dir"].type == "path"
    assert rows["name"].default == socket.gethostname()
    assert rows["client-servers"].type == "list of text"
    assert all(row.help for row in rows.values())
    assert len(rows) == len(setting_rows()), "no two settings share a flag"


def test_asked_are_the_types_that_configuration_names(write: Write) -> None:
    file = write("a.hcl", 'plugin_types { enabled = ["disk", "net"] }\nplugin "net" "x" {}\n')
    installed = Installed()
    settings(file, installed=installed)
    assert installed.asked == {"disk", "net"}


def test_dev_is_a_base_below_all_files(write: Write, tmp_path: Path) -> None:
    found = settings(dev_folder=tmp_path)
    assert (found.server.enabled, found.client.enabled, found.ports.http) == (True, True, 4646)
    assert found.data_dir == tmp_path
    assert found.type_blocks["disk"] == {"sockets": [f"{tmp_path}/disk/*.sock"]}
    file = write("a.hcl", 'data_dir = "/d"\nserver { enabled = false }\n'
                          'plugin_type "disk" { retries = 9 }\n')  # fmt: skip
    over = settings(file, dev_folder=tmp_path)
    assert (over.data_dir, over.server.enabled, over.client.enabled) == (Path("/d"), False, True)
    assert over.types["disk"].retries == 9
    assert over.types["disk"].sockets == [f"{tmp_path}/disk/*.sock"]


def test_a_type_that_nothing_asks_for_may_need_more_than_defaults(write: Write) -> None:
    found = settings(installed=Installed({"needy": NeedyType()}))
    assert found.types == {}
    assert found.type_blocks == {}
    assert "licence is missing" in found.type_problems["needy"]
    file = write("a.hcl", 'plugin_type "needy" { licence = "mit" }')
    asked = settings(file, installed=Installed({"needy": NeedyType()}))
    assert asked.types["needy"]["licence"] == "mit"
    assert asked.type_problems == {}
