"""Mistakes are reported all at once, each with its place and a correction."""

# A row of a table reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.config.conftest import Write
from tests.config.support import Installed, NeedyType, mistakes

MANY = ", ".join(f'k{number} = "x"' for number in range(129))


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ('regio = "x"', '1:1: unknown setting "regio"; did you mean "region"?'),
        ("servr {\n}", '1:1: unknown setting "servr"; did you mean "server"?'),
        ('plugin_typ "disk" {}', '1:1: unknown setting "plugin_typ"; did you mean "plugin_type"?'),
        (
            'server {\n  heartbet_ttl = "3s"\n}',
            '2:3: unknown setting "heartbet_ttl" in server; did you mean "heartbeat_ttl"?',
        ),
        ("ports {\n zzz {}\n}", '2:2: unknown setting "zzz" in ports; use one of: http'),
        ("telemetry {}", None),
        ("ports = 4646", "1:1: ports is a block: write ports { ... }"),
        ('ports "x" {}', "1:1: ports takes no such label: write ports { ... }"),
        ('data_dir { path = "x" }', '1:1: data_dir is not a block: write data_dir = "/var/lib/plugind"'),
        ("log_json {}", "1:1: log_json is not a block: write log_json = false"),
        ("plugin_type {\n probe_interval = \"1s\"\n}", '1:1: plugin_type needs a label: write plugin_type "NAME" { ... }'),
        ('plugin "disk" {}', None),
        ('plugin "disk" {\n nodes_expected = 1 }', '1:1: plugin.disk needs a label: write plugin "disk" "ID" { ... }'),
        ('plugin "disk" "a" "b" {}', '1:1: plugin.disk.a takes no such label: write plugin "disk" "a" { ... }'),
        ('plugin = "x"', '1:1: plugin needs a label: write plugin "TYPE" "ID" { ... }'),
        ('store "sqlite" { fats = true }', '1:18: unknown setting "fats" in store.sqlite; did you mean "fast"?'),
        ('store "sqlit" {}', '1:1: no store "sqlit": did you mean "sqlite"?'),
        ('store "sqlite" {}\nstore "other" {}', '2:1: one store only; line 1 has store "sqlite" already'),
        ("ports {\n  http = \"4646\"\n}", "2:3: ports.http must be a whole number, such as 4646"),
        ("ports { http = 70000 }", "1:9: ports.http must be from 0 to 65535, such as 4646"),
        ("log_json = 1", "1:1: log_json must be true or false, such as false"),
        ("region = 1", '1:1: region must be a string, such as "global"'),
        ('region = " "', '1:1: region must not be empty'),
        ('log_level = "loud"', "1:1: log_level must be one of DEBUG, INFO, WARN, ERROR"),
        ("data_dir = 1", '1:1: data_dir must be a path in quotes, such as "/var/lib/plugind"'),
        ('data_dir = ""', '1:1: data_dir must be a path in quotes, such as "/var/lib/plugind"'),
        ('client { servers = "http://x" }', '1:10: client.servers must be a list, such as ["http://127.0.0.1:4646"]'),
        ('client {\n servers = ["http://x",\n  "x:1"]\n}', "3:3: client.servers[1] must be a server's address, such as http://127.0.0.1:4646"),
        ('client { servers = [null] }', "1:21: client.servers[0] must not be null"),
        ('client {\n enabled = true\n servers = []\n}', "3:2: client.servers is empty: an agent needs a server to report to"),
        ('server { heartbeat_ttl = "999ms" }', '1:10: server.heartbeat_ttl must be from 1s to 277777h46m40s, such as "30s"'),
        ("server { heartbeat_ttl = 30 }", '1:10: server.heartbeat_ttl must be a duration in quotes, such as "30s" or "1h30m"'),
        ('region = "a"\n\nregion = "b"', "3:1: region is repeated; it is in line 1 already"),
        ("ports {}\nports {}", "2:1: ports is repeated; it is in line 1 already"),
        ('plugin "disk" "a" {}\nplugin "disk" "a" {}', '2:1: plugin "disk" "a" is repeated; it is in line 1 already'),
        ('server {\n enabled = true\n enabled = true\n}', "3:2: enabled is repeated; it is in line 2 already"),
        ('plugin "disk" "a/b" {}', None),
        ('plugin "disk" "a" { node_expected = 1 }', '1:21: unknown setting "node_expected" in plugin.disk.a; did you mean "nodes_expected"?'),
        ('plugin "disk" "a" { nodes_expected = -1 }', "1:21: plugin.disk.a.nodes_expected must be from 0 to 10000000, such as 1"),
        ('plugin_type "disc" {}', '1:1: no plugin type "disc": did you mean "disk"?'),
        ('plugin "tape" "a" {}', '1:1: no plugin type "tape": use one of: disk, net'),
        ('plugin_types {\n enabled = ["net",\n "tape"]\n}', '3:2: no plugin type "tape": use one of: net'),
        ('plugin_types { disabled = ["net"] }\nplugin_type "net" {}', '2:1: no plugin type "net": it is disabled'),
        ('plugin_type "disk" {\n  sockets = [1]\n}', "2:14: plugin_type.disk.sockets[0] must be a string"),
        ('plugin_type "disk" {\n  instance = "x"\n}', '2:3: plugin_type.disk.instance needs a label: write instance "NAME" { ... }'),
        ('plugin_type "disk" {\n  instance "a" {}\n}', '2:3: plugin_type.disk.instance.a.endpoint is missing; write endpoint = "unix:///run/disk.sock"'),
        ('plugin_type "disk" {\n  instance "a" "b" {}\n}', '2:3: plugin_type.disk.instance.a takes no such label: write instance "a" { ... }'),
        ('plugin_type "disk" {\n  instance "a" {\n  endpoint = 1\n}\n}', '3:3: plugin_type.disk.instance.a.endpoint must be a string, such as "unix:///run/disk.sock"'),
        ('plugin_type "disk" {\n  instance "a" {\n  endpoint {}\n}\n}', '3:3: plugin_type.disk.instance.a.endpoint is not a block: write endpoint = "unix:///run/disk.sock"'),
        ('plugin_type "disk" {\n  instance "a" {\n  endpoint = null\n}\n}', '3:3: plugin_type.disk.instance.a.endpoint is missing; write endpoint = "unix:///run/disk.sock"'),
        ('server = null\nclient {\n servers = [1]\n}', "3:13: client.servers[0] must be a string"),
        ('plugin_type "disk" {\n  instance "a/b" { endpoint = "/x" }\n}', "2:3: plugin_type.disk.instance.a/b must be 1 to 128 letters, digits, dots, dashes or underscores, starting with a letter or digit"),
        ('plugin_type "disk" {\n  instance "a" {\n    endpoint = "/x"\n    options = {\n      b = "long"\n}\n}\n}', "5:7: plugin_type.disk.instance.a.options.b must have at most 3 characters"),
        ('plugin_type "disk" {\n  instance "a" {\n    endpoint = "/x"\n    key = "y"\n}\n}', "4:5: plugin_type.disk.instance.a.key must be a whole number, such as 1"),
        ('client { advertise = "0.0.0.0" }', "1:10: client.advertise must be an address that others can connect to, such as 10.0.0.5: 0.0.0.0 is the address of no machine"),
        ('advertise { http = "[::]:4646" }', "1:13: advertise.http must be an address that others can connect to, such as 10.0.0.5: :: is the address of no machine"),
        ('advertise { http = "http://10.0.0.5" }', "1:13: advertise.http must be a host or HOST:PORT, such as 10.0.0.5:4646"),
        ('advertise { http = "10.0.0.5:0" }', "1:13: advertise.http must be a host or HOST:PORT, such as 10.0.0.5:4646"),
        ('advertise { htp = "10.0.0.5" }', '1:13: unknown setting "htp" in advertise; did you mean "http"?'),
        ('client {\n  meta {\n    rack = 7\n  }\n}', "3:5: client.meta.rack must be a string"),
        ('client {\n  meta {\n    rack {}\n  }\n}', "3:5: client.meta.rack must be a string"),
        ('client { meta "x" {} }', '1:10: client.meta takes no such label: write meta { ... }'),
        ('client {\n  meta = {\n    "a b" = "x"\n  }\n}', "3:5: client.meta.a b must have a name of 1 to 128 letters, digits, dots, dashes, slashes or underscores, the first a letter, digit or underscore"),
        ('client { meta = "x" }', "1:10: client.meta must be an object, { name = value }"),
        (f'client {{ meta {{ rack = "{"x" * 4097}" }} }}', "1:17: client.meta.rack must have at most 4096 characters"),
        (f"client {{ meta = {{ {MANY} }} }}", "1:10: client.meta must have at most 128 entries"),
        (f'client {{ meta = {{ {", ".join(f"k{at} = {chr(34)}{4_090 * chr(120)}{chr(34)}" for at in range(9))} }} }}', "1:10: client.meta must have at most 32,768 bytes in all"),
        (f'client {{ node_class = "{"x" * 129}" }}', '1:10: client.node_class must have at most 128 characters'),
        ("x = = 1", None),
    ],
)  # fmt: skip
def test_one_mistake(write: Write, text: str, mistake: str | None) -> None:
    found = mistakes(write("a.hcl", text))
    if mistake is None:
        assert len(found) == 1
        assert found[0].startswith("a.hcl:1:")
    else:
        assert found == [f"a.hcl:{mistake}"]


def test_all_mistakes_of_all_files_at_once(write: Write) -> None:
    a = write("a.hcl", 'region = 1\nserver { max_parked = 0 }\nplugin_type "tape" {}\n')
    b = write("b.hcl", "x = (1)\n")
    c = write("c.json", '{"server":\n {"enabeld": true}, "plugin_type": {"disk": {"retries": 10}}}')
    found = mistakes(a, b, c, variables={"PLUGIND_LOG_LEVEL": "x", "PLUGIND_PORT_HTTP": "1"})
    assert found == [
        'a.hcl:1:1: region must be a string, such as "global"',
        "a.hcl:2:10: server.max_parked must be from 1 to 50000, such as 200",
        'a.hcl:3:1: no plugin type "tape": use one of: disk, net',
        "b.hcl:1:5: expressions are not supported; write the value itself",
        'c.json:2:3: unknown setting "enabeld" in server; did you mean "enabled"?',
        "c.json:2:46: plugin_type.disk.retries must be from 0 to 9, such as 3",
        "PLUGIND_LOG_LEVEL: log_level must be one of DEBUG, INFO, WARN, ERROR",
        "PLUGIND_PORT_HTTP: no setting has this name; did you mean PLUGIND_PORTS_HTTP?",
    ]


def test_a_broken_core_does_not_hide_what_types_are_chosen(write: Write) -> None:
    text = 'log_json = 1\nplugin_types { disabled = ["net"] }\nplugin "net" "x" {}\n'
    assert mistakes(write("a.hcl", text)) == [
        "a.hcl:1:1: log_json must be true or false, such as false",
        'a.hcl:3:1: no plugin type "net": it is disabled',
    ]
    assert len(mistakes(write("b.hcl", "plugin_types { disabled = 1 }"))) == 1


@pytest.mark.parametrize(
    ("given", "mistake"),
    [
        ({"flags": {"ports-htp": "1"}}, "--ports-htp: no setting has this name; did you mean --ports-http?"),
        ({"variables": {"PLUGIND_QQQQ": "1"}}, "PLUGIND_QQQQ: no setting has this name; docs/configuration.md lists them all"),
        ({"variables": {"PLUGIND_PORTS_HTTP": "many"}}, "PLUGIND_PORTS_HTTP: ports.http must be a whole number, such as 4646"),
        ({"flags": {"log_json": "yes"}}, "--log-json: log_json must be true or false, such as false"),
        ({"flags": {"data-dir": ""}}, '--data-dir: data_dir must be a path in quotes, such as "/var/lib/plugind"'),
        ({"variables": {"PLUGIND_CLIENT_SERVERS": "http://a,b"}}, "PLUGIND_CLIENT_SERVERS: client.servers[1] must be a server's address, such as http://127.0.0.1:4646"),
        ({"variables": {"PLUGIND_CLIENT_SERVERS": "http://u:hunter2@a"}}, "PLUGIND_CLIENT_SERVERS: client.servers[0] must be a server's address, such as http://127.0.0.1:4646"),
        ({"variables": {"PLUGIND_PLUGIN_TYPE_DISK_SOCKET": "x"}}, "PLUGIND_PLUGIN_TYPE_DISK_SOCKET: no setting has this name; did you mean PLUGIND_PLUGIN_TYPE_DISK_SOCKETS?"),
        ({"variables": {"PLUGIND_PLUGIN_TYPE_DISK_PROBE_TIMEOUT": "x"}}, 'PLUGIND_PLUGIN_TYPE_DISK_PROBE_TIMEOUT: plugin_type.disk.probe_timeout must be a duration, such as "30s" or "1h30m"'),
        ({"variables": {"PLUGIND_STORE_FAST": "x"}}, "PLUGIND_STORE_FAST: store.sqlite.fast must be true or false, such as false"),
    ],
)  # fmt: skip
def test_mistakes_in_variables_and_flags(given: dict[str, dict[str, str]], mistake: str) -> None:
    assert mistakes(**given) == [mistake]


def test_a_variable_for_a_disabled_type_says_why() -> None:
    found = mistakes(
        variables={"PLUGIND_PLUGIN_TYPE_NET_PROBE_TIMEOUT": "1s"},
        flags={"plugin-types-disabled": "net"},
    )
    assert found == [
        'PLUGIND_PLUGIN_TYPE_NET_PROBE_TIMEOUT: plugin type "net" is not available: it is disabled'
    ]


def test_a_variable_does_not_hide_a_block_that_is_written_wrongly(write: Write) -> None:
    found = mistakes(write("a.hcl", "ports = 1"), variables={"PLUGIND_PORTS_HTTP": "1"})
    assert found == ["a.hcl:1:1: ports is a block: write ports { ... }"]


def test_a_broken_type_is_reported_where_it_is_asked_for(write: Write) -> None:
    installed = Installed(problems={"tape": "acme-tape 1.0 is broken: ImportError: no acme"})
    found = mistakes(write("a.hcl", 'plugin "tape" "x" {}'), installed=installed)
    assert found == [
        'a.hcl:1:1: no plugin type "tape": acme-tape 1.0 is broken: ImportError: no acme'
    ]


def test_a_type_whose_code_raises_is_reported_as_broken(write: Write) -> None:
    installed = Installed({"needy": NeedyType()})
    file = write("a.hcl", '\nplugin_type "needy" {\n licence = "x"\n colour = "plaid"\n}')
    assert mistakes(file, installed=installed) == [
        'a.hcl:2:1: plugin type "needy" is broken: RuntimeError: no such colour'
    ]
    file = write("b.hcl", 'plugin_type "needy" {\n licence = "x"\n colour = "blue"\n}')
    assert mistakes(file, installed=installed) == [
        'b.hcl:3:2: plugin_type.needy.colour must be red, such as "red"'
    ]


def test_no_store_at_all() -> None:
    assert mistakes(installed=Installed(stores={})) == [
        'configuration: no store "sqlite": none exists'
    ]


def test_paths_that_give_nothing(write: Write, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("x")
    above = tmp_path / "above"
    for name in ("server", "agent", "notes"):
        (above / name).mkdir(parents=True)
    (above / "server/server.hcl").touch()
    (above / "agent/agent.json").touch()
    loop = tmp_path / "loop.hcl"
    loop.symlink_to(loop)
    found = mistakes(above, empty, tmp_path / "none.hcl", loop)
    assert found == [
        "above: cannot be read: the folder holds no file that ends in .hcl or .json; "
        "name one of the folders in it: agent, server",
        "empty: cannot be read: the folder holds no file that ends in .hcl or .json",
        f"loop.hcl: cannot be read: {os.strerror(40)}",
        "none.hcl: cannot be read: No such file or directory",
    ]


def test_a_mistake_is_one_line_whatever_a_name_holds(write: Write) -> None:
    file = write("a.json", '{"server": {"en\\nabled\\u001b": true}}')
    assert mistakes(file) == [
        r'a.json:1:13: unknown setting "en\nabled\x1b" in server; did you mean "enabled"?'
    ]
