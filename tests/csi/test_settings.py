from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from marshmallow import ValidationError

from plugin_types.csi import CsiType
from plugin_types.csi.settings import (
    DEFAULT_SOCKETS,
    CsiSettings,
    CsiSettingsSchema,
    NamedInstance,
    NamedInstanceSchema,
)
from plugind.config.reference import table
from plugind.plugin_type import SettingsSchema
from tests.test_docs import ROOT


def load(**block: Any) -> CsiSettings:
    loaded = CsiType.settings_schema().load(block)
    assert isinstance(loaded, CsiSettings)
    return loaded


def test_defaults() -> None:
    assert load() == CsiSettings(1.5, 3.0, 1, 512 << 20, 1_000, DEFAULT_SOCKETS, {}, 60.0)


def test_a_full_block() -> None:
    assert load(
        sockets=["/srv/*.sock"],
        refresh_interval="5m",
        instance={
            "nfs": {"endpoint": "unix:///srv//nfs/csi.sock", "role": "node"},
            "ebs": {
                "endpoint": "unix:///srv/ebs.sock",
                "probe_interval": "5s",
                "probe_timeout": "10s",
                "unhealthy_after": 4,
            },
        },
        unhealthy_after=2,
        memory_limit=0,
    ) == CsiSettings(
        1.5,
        3.0,
        2,
        0,
        1_000,
        ("/srv/*.sock",),
        {
            "nfs": (NamedInstance("/srv/nfs/csi.sock", "node"),),
            "ebs": (
                NamedInstance(
                    "/srv/ebs.sock", probe_interval=5.0, probe_timeout=10.0, unhealthy_after=4
                ),
            ),
        },
        300.0,
    )


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"sockets": "/srv/*.sock"}, "must be a list"),
        ({"sockets": ["csi.sock"]}, "must be an absolute path"),
        ({"sockets": [1]}, "must be a string"),
        ({"socket": []}, "Unknown"),
        ({"instance": {"a": {}}}, "Missing"),
        ({"instance": {"a": {"endpoint": "/x"}}}, "unix:///srv"),
        ({"instance": {"a": {"endpoint": "unix://x/y"}}}, "unix:///srv"),
        ({"instance": {"a b": {"endpoint": "unix:///x"}}}, "letters, digits"),
        ({"instance": {"a": {"endpoint": "unix:///x", "role": "both"}}}, "controller, node"),
        (
            {"instance": {"a": {"endpoint": "unix:///x"}, "b": {"endpoint": "unix:///x"}}},
            "'a' and 'b' name the same socket",
        ),
        ({"refresh_interval": "0s"}, "must be from"),
        ({"unhealthy_after": 0}, "must be from 1 to 1000"),
        ({"memory_limit": "512M"}, "must be a whole number"),
        (
            {"instance": {"a": {"endpoint": "unix:///x", "unhealthy_after": 0}}},
            "must be from 1 to 1000",
        ),
    ],
)
def test_mistakes_are_reported(block: Any, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        load(**block)
    assert text in str(caught.value.messages)


def test_every_setting_explains_itself() -> None:
    fields = dict(CsiType.settings_schema().fields)
    fields |= fields["instance"].value_field.schema.fields
    assert not [name for name, field in fields.items() if not field.metadata.get("help")]


def test_dev_settings_load(tmp_path: Path) -> None:
    assert load(**CsiType().dev_settings(tmp_path)).sockets == (f"{tmp_path}/csi/*.sock",)


def test_the_document_lists_them_all() -> None:
    """List all settings but those common to every type, which are in the core's reference."""
    text = (ROOT / "docs/plugin-types/csi.md").read_text()
    alike = table(SettingsSchema()).splitlines()
    rows = table(CsiSettingsSchema()).splitlines() + table(NamedInstanceSchema()).splitlines()
    own = [row for row in rows if row not in alike]
    assert len(own) >= 5
    assert not [row for row in own if row not in text]
    assert not [glob for glob in DEFAULT_SOCKETS if glob not in text and "nomad" not in glob]


BLOCKS = {
    "no-role": [{"endpoint": "unix:///a"}, {"endpoint": "unix:///b", "role": "node"}],
    "one-role": [{"endpoint": "unix:///a", "role": "node"}] * 2,
    "one-socket": [{"endpoint": "unix:///a", "role": role} for role in ("controller", "node")],
}


@pytest.mark.parametrize(
    ("blocks", "text"),
    [
        ("no-role", "has 2 blocks, one of them without a role (the others: node)"),
        ("one-role", "has two blocks with one role"),
        ("one-socket", "both blocks of 'a' name the same socket"),
    ],
)
def test_two_blocks_that_cannot_stand_together(blocks: str, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        load(instance={"a": BLOCKS[blocks]})
    assert text in str(caught.value.messages)


def test_a_block_for_each_role() -> None:
    one, other = load(
        instance={
            "a": [
                {"endpoint": "unix:///c", "role": "controller"},
                {"endpoint": "unix:///n", "role": "node", "probe_interval": "5s"},
            ]
        }
    ).instance["a"]
    assert one == NamedInstance("/c", "controller")
    assert other == NamedInstance("/n", "node", probe_interval=5.0)
