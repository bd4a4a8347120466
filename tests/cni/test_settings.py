from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from marshmallow import ValidationError

from plugin_types.cni import CniType
from plugin_types.cni.settings import DEFAULT_IGNORE, CniSettings, CniSettingsSchema
from plugind.config.reference import table
from plugind.plugin_type import SettingsSchema

ROOT = Path(__file__).parent.parent.parent


def load(**block: Any) -> CniSettings:
    loaded = CniType.settings_schema().load(block)
    assert isinstance(loaded, CniSettings)
    return loaded


def test_defaults() -> None:
    found = load()
    assert found.bin_dirs == ("/opt/cni/bin", "/usr/lib/cni")
    assert (found.conf_dir, found.ignore) == ("/etc/cni/net.d", DEFAULT_IGNORE)
    assert found.allow == ()
    assert (found.probe_interval, found.probe_timeout) == (30.0, 3.0)


def test_a_full_block() -> None:
    found = load(bin_dirs=["/a//b", "/c/"], conf_dir="/d/./e", ignore=["x*"])
    assert found.folders == ("/a/b", "/c", "/d/e")
    assert found.ignore == ("x*",)


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"bin_dirs": "/opt/cni/bin"}, "must be a list"),
        ({"bin_dirs": ["bin"]}, "must be an absolute path"),
        ({"conf_dir": "net.d"}, "must be an absolute path"),
        ({"conf_dir": "/a\0"}, "must be an absolute path"),
        ({"ignore": [1]}, "must be a string"),
        ({"bin_dir": []}, "Unknown"),
    ],
)
def test_mistakes_are_reported(block: Any, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        load(**block)
    assert text in str(caught.value.messages)


def test_dev_settings_stay_in_their_folder(tmp_path: Path) -> None:
    found = load(**CniType().dev_settings(tmp_path))
    assert found.folders == (f"{tmp_path}/cni/bin", f"{tmp_path}/cni/net.d")


def test_the_document_lists_them_all() -> None:
    """List all settings but those common to every type, which are in the core's reference."""
    text = (ROOT / "docs/plugin-types/cni.md").read_text()
    alike = table(SettingsSchema()).splitlines()
    own = [row for row in table(CniSettingsSchema()).splitlines() if row not in alike]
    assert len(own) == 5
    assert not [row for row in own if row not in text]
