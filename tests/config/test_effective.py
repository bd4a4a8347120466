"""The output of ``plugind config show``: every value, its origin, and no secret."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from marshmallow import fields

from plugind.config.effective import MASKED, as_json, as_text, effective
from plugind.config.settings import Settings
from plugind.plugin_type import SettingsSchema
from plugind.wire.fields import Text
from tests.config.conftest import Write
from tests.config.support import Installed, NetType, settings


def shown(found: Settings) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in as_json(effective(found))}


def test_every_value_has_its_origin(write: Write) -> None:
    first = write("10.hcl", 'bind_addr = "0.0.0.0"\nserver {\n  max_parked = 5\n}\n')
    second = write("20.hcl", 'bind_addr = "::"\nserver {\n  max_parked = 6\n}\n')
    rows = shown(
        settings(
            first,
            second,
            variables={"PLUGIND_SERVER_MAX_PARKED": "7", "PLUGIND_REGION": "eu"},
            flags={"server_max_parked": "8"},
        )
    )
    assert rows["bind_addr"] == {
        "name": "bind_addr",
        "path": ["bind_addr"],
        "value": "::",
        "origin": "file",
        "source": str(second),
        "line": 1,
        "column": 1,
        "overrides": [
            {"value": "0.0.0.0", "origin": "file", "source": str(first), "line": 1, "column": 1}
        ],
    }
    parked = rows["server.max_parked"]
    assert (parked["value"], parked["origin"], parked["source"]) == (
        8,
        "flag",
        "--server-max-parked",
    )
    # A flag takes the place of a variable of the same setting before either is read.
    assert [(each["value"], each["line"]) for each in parked["overrides"]] == [(6, 3), (5, 3)]
    assert (rows["region"]["origin"], rows["region"]["source"]) == ("variable", "PLUGIND_REGION")
    assert (rows["server.heartbeat_ttl"]["value"], rows["server.heartbeat_ttl"]["origin"]) == (
        "30s",
        "default",
    )


def test_null_shows_the_default_and_what_it_takes_back(write: Write) -> None:
    first = write("10.hcl", 'region = "eu"\n')
    second = write("20.hcl", "region = null\n")
    row = shown(settings(first, second))["region"]
    assert (row["value"], row["source"]) == ("global", str(second))
    assert [each["value"] for each in row["overrides"]] == ["eu"]


def test_the_text_is_a_configuration_with_the_same_meaning(write: Write) -> None:
    file = write(
        "conf/10.hcl",
        'data_dir = "data"\nserver { enabled = true }\nregion = "$${x}\\n%%{y}\\u001b é"\n'
        'plugin_type "disk" {\n  sockets = ["a/*.sock"]\n  instance "d1" {\n'
        '    endpoint = "unix:///d"\n    options = { a = "b", "c d" = "e" }\n  }\n}\n'
        'store "other" { path = "x.db" }\nplugin "disk" "d" { nodes_expected = 3 }\n',
    )
    found = settings(file)
    text = as_text(effective(found))
    assert "\x1b" not in text
    again = settings(write("elsewhere/shown.hcl", text))
    assert replace(again, type_blocks={}) == replace(found, type_blocks={}), "defaults are written"
    assert found.region == "${x}\n%{y}\x1b é"
    lines = [line for line in text.splitlines() if " = " in line]
    assert all("  # " in line for line in lines)
    assert f"# {file}:1:1" in lines[0]


def test_json_files_are_shown_as_hcl_files_are(write: Write) -> None:
    file = write(
        "10.json",
        json.dumps(
            {
                "server": {"max_parked": 5},
                "plugin_type": {
                    "disk": {"instance": {"d": {"endpoint": "x", "options": {"a": "b"}}}}
                },
            }
        ),
    )
    rows = shown(settings(file))
    assert rows["server.max_parked"]["value"] == 5
    assert rows["plugin_type.disk.instance.d.options"]["value"] == {"a": "b"}
    assert rows["plugin_type.disk.instance.d.options"]["line"] == 1


class SafeSchema(SettingsSchema):
    record = None

    code = Text(load_default="", metadata={"secret": True})
    api_key = Text(load_default="")
    token_file = Text(load_default="")
    address = Text(load_default="")
    command = fields.List(Text(), load_default=[])
    environment = fields.Dict(keys=Text(), values=Text(), load_default=dict)
    passwords = fields.List(Text(), load_default=[])


class SafeType(NetType):
    name = "safe"
    settings_schema = SafeSchema


def test_secrets_are_masked_wherever_they_stand(write: Write) -> None:
    installed = Installed({"safe": SafeType()})
    block = (
        'plugin_type "safe" {{\n  code = "hush{0}"\n  api_key = "hush{0}"\n'
        '  token_file = "/run/token"\n  address = "http://me:hush{0}@host/x"\n'
        '  command = ["check", "--password", "hush{0}", "--token=hush{0}", "-H", "host"]\n'
        '  environment = {{ DB_PASSWORD = "hush{0}", LANG = "C" }}\n'
        '  passwords = ["hush{0}"]\n}}\n'
    )
    files = [write(f"{number}.hcl", block.format(number)) for number in (1, 2)]
    found = effective(settings(*files, installed=installed))
    values = {each.path[-1]: each.values[0].value for each in found}
    assert values["code"] == values["api_key"] == MASKED
    assert values["token_file"] == "/run/token"
    assert values["address"] == f"http://{MASKED}@host/x"
    assert values["command"] == ["check", "--password", MASKED, f"--token={MASKED}", "-H", "host"]
    assert values["environment"] == {"DB_PASSWORD": MASKED, "LANG": "C"}
    assert values["passwords"] == [MASKED]
    assert "hush" not in as_text(found) + json.dumps(as_json(found))
