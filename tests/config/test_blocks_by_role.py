"""Repeated blocks of one label with different roles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from marshmallow import fields

from plugind.plugin_type import Settings as TypeSettings
from plugind.plugin_type import SettingsSchema
from plugind.wire.fields import BlocksByRole, Identifier
from tests.config.conftest import Write
from tests.config.support import Disk, DiskSchema, DiskType, Installed, mistakes, settings


@dataclass(frozen=True)
class HalvesSettings(TypeSettings):
    instance: Mapping[str, tuple[Disk, ...]]


class HalvesSchema(SettingsSchema):
    record = HalvesSettings

    instance = fields.Dict(keys=Identifier(), values=BlocksByRole(DiskSchema), load_default=dict)


class HalvesType(DiskType):
    name = "halves"
    settings_schema = HalvesSchema

    def dev_settings(self, folder: Path) -> Mapping[str, Any]:
        return {}


def block(role: str = "", endpoint: str = "unix:///a", type: str = "halves") -> str:
    lines = [f'endpoint = "{endpoint}"'] if endpoint else []
    lines += [f'role = "{role}"'] if role else []
    text = "".join(f"    {line}\n" for line in lines)
    return f'plugin_type "{type}" {{\n  instance "x" {{\n{text}  }}\n}}\n'


def both(first: str, second: str) -> str:
    """Return two blocks of one label in one plugin_type block."""
    head, tail = block(first, "unix:///a"), block(second, "unix:///b")
    return head.removesuffix("}\n") + tail.partition("\n")[2]


@pytest.fixture
def installed() -> Installed:
    return Installed({"halves": HalvesType(), "disk": DiskType()})


def found(installed: Installed, *paths: Path) -> dict[str, str]:
    """Return the endpoints by role."""
    (blocks,) = settings(*paths, installed=installed).types["halves"].instance.values()
    return {one.role: one.endpoint for one in blocks}


def test_one_for_each_role(write: Write, installed: Installed) -> None:
    path = write("a.hcl", both("controller", "node"))
    assert found(installed, path) == {"controller": "unix:///a", "node": "unix:///b"}
    loaded = settings(path, installed=installed)
    plain = loaded.type_blocks["halves"]
    assert HalvesSchema().load(plain) == loaded.types["halves"], "a type's own process loads it"


def test_json_has_a_list(write: Write, installed: Installed) -> None:
    text = """{"plugin_type": {"halves": {"instance": {"x": [
        {"endpoint": "unix:///a", "role": "node"}, {"endpoint": "unix:///b", "role": "controller"}
    ]}}}}"""
    assert found(installed, write("a.json", text)) == {
        "node": "unix:///a",
        "controller": "unix:///b",
    }


def test_later_files_win_role_by_role(write: Write, installed: Installed) -> None:
    first = write("a.hcl", both("controller", "node"))
    second = write("b.hcl", block("node", "unix:///c"))
    assert found(installed, first, second) == {"controller": "unix:///a", "node": "unix:///c"}
    one = write("c.hcl", block("controller"))
    assert found(installed, one, second) == {"controller": "unix:///a", "node": "unix:///c"}
    anonymous = write("d.hcl", block("", "unix:///d"))
    assert found(installed, one, anonymous) == {"controller": "unix:///d"}
    assert found(installed, anonymous, one) == {"controller": "unix:///a"}


def test_a_type_with_one_block_a_label_has_the_last(write: Write, installed: Installed) -> None:
    first = write("a.hcl", block("controller", type="disk"))
    second = write("b.hcl", block("node", "", type="disk"))
    loaded = settings(first, second, installed=installed).types["disk"]
    assert loaded.instance == {"x": Disk("unix:///a", "node")}


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ("controller", "", "two blocks with one label need a role each"),
        ("", "node", "two blocks with one label need a role each"),
        ("node", "node", ""),
        ("", "", ""),
    ],
)
def test_a_repeat_without_a_role_of_its_own(
    write: Write, installed: Installed, first: str, second: str, text: str
) -> None:
    path = write("a.hcl", both(first, second))
    (mistake,) = mistakes(path, installed=installed)
    line = 2 + len(block(first).splitlines()) - 2
    repeat = f'{line}:3: instance "x" is repeated; it is in line 2 already'
    assert mistake == f"a.hcl:{repeat}" + (f"; {text}" if text else "")


def test_a_block_without_a_role_in_a_later_file(write: Write, installed: Installed) -> None:
    first = write("a.hcl", both("controller", "node"))
    second = write("b.hcl", block("", "unix:///c"))
    assert mistakes(first, second, installed=installed) == [
        'b.hcl:2:3: instance "x" has no role here, and one each at a.hcl:2 (controller) and '
        "a.hcl:6 (node); set its role"
    ]


def test_a_type_with_one_block_a_label_takes_no_second(write: Write, installed: Installed) -> None:
    path = write("a.hcl", both("controller", "node").replace("halves", "disk"))
    assert mistakes(path, installed=installed) == [
        'a.hcl:6:3: instance "x" is repeated; it is in line 2 already'
    ]


def test_each_mistake_is_reported_in_its_own_block(write: Write, installed: Installed) -> None:
    text = both("controller", "node").replace('endpoint = "unix:///b"', "endpoint = 1")
    path = write("a.hcl", text)
    (mistake,) = mistakes(path, installed=installed)
    assert mistake.startswith("a.hcl:7:5: plugin_type.halves.instance.x[1].endpoint must be")
