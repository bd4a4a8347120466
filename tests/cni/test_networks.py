"""Networks' configurations, good and bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_types.cni.networks import (
    FILE_MAXIMUM,
    Network,
    parse_network,
    plugin_id,
    read_network,
    version_order,
)
from plugin_types.cni.schemas import NetworkFingerprintSchema
from plugind.fields import ID_PATTERN


def parse(document: Any, path: str = "/etc/cni/net.d/10-pods.conflist") -> Network:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_network(path, data)


def test_a_list_of_plugins() -> None:
    found = parse(
        {
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [
                {"type": "bridge", "bridge": "cni0", "ipam": {"type": "host-local"}},
                {"type": "portmap", "ipam": {}},
                {"type": "bridge"},
            ],
        }
    )
    path = "/etc/cni/net.d/10-pods.conflist"
    assert found == Network(path, "pods", ("0.4.0",), ("bridge", "host-local", "portmap"))
    assert found.file == "10-pods.conflist"


@pytest.mark.parametrize("suffix", ["conf", "json"])
def test_one_plugin(suffix: str) -> None:
    path = f"/x/one.{suffix}"
    assert parse({"name": "one", "type": "macvlan", "ipam": {"type": "dhcp"}}, path) == Network(
        path, "one", ("0.1.0",), ("macvlan", "dhcp")
    )


def test_several_versions() -> None:
    versions = ["1.10.0", "0.4.0", "1.9.0"]
    document = {"name": "a", "cniVersions": versions, "cniVersion": "1.1.0", "type": "x"}
    assert parse(document, "a.conf").versions == ("0.4.0", "1.9.0", "1.10.0")
    assert sorted(["1.0.0-rc1", "1.0.0"], key=version_order) == ["1.0.0", "1.0.0-rc1"]


@pytest.mark.parametrize(
    ("document", "name", "flaw"),
    [
        (b"{", "", "is no JSON"),
        (b"\xff", "", "is no JSON"),
        (b"[" * 99_999, "", "is no JSON"),
        ([], "", "holds no JSON object"),
        ({"type": "x"}, "", 'has no "name"'),
        ({"name": ["a"]}, "", 'has no "name"'),
        ({"name": "a b"}, "a b", "names its network 'a b'; CNI allows no such name"),
        ({"name": "a"}, "a", 'has no list "plugins"'),
        ({"name": "a", "type": "x"}, "a", 'has no list "plugins"'),
        ({"name": "a", "plugins": []}, "a", 'has no list "plugins"'),
        ({"name": "a", "plugins": [1]}, "a", 'has a plugin without a "type"'),
        ({"name": "a", "plugins": [{"type": ""}]}, "a", 'has a plugin without a "type"'),
        ({"name": "a", "plugins": [{"type": "../sh"}]}, "a", 'has a plugin without a "type"'),
        ({"name": "a", "plugins": [{"type": "x" * 256}]}, "a", 'has a plugin without a "type"'),
        (
            {"name": "a", "plugins": [{"type": "x", "ipam": {"type": "/y"}}]},
            "a",
            'has a plugin without a "type"',
        ),
        ({"name": "a", "cniVersion": 1, "plugins": [{"type": "x"}]}, "a", '"cniVersion"'),
        ({"name": "a", "cniVersions": "1.0.0", "plugins": [{"type": "x"}]}, "a", '"cniVersion"'),
    ],
)
def test_what_no_runtime_can_use(document: Any, name: str, flaw: str) -> None:
    found = parse(document)
    assert found.name == name
    assert found.flaw.startswith("/etc/cni/net.d/10-pods.conflist ")
    assert flaw in found.flaw
    assert not found.needs


def test_a_list_in_a_file_for_one_plugin() -> None:
    document = {"name": "a", "plugins": [{"type": "x"}]}
    assert parse(document, "/x/a.conf").flaw == (
        "/x/a.conf holds a list of plugins; the name of such a file ends in .conflist"
    )


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert read_network(str(tmp_path / "gone.conf")) is None
    found = read_network(str(tmp_path))
    assert found
    assert found.flaw == f"cannot read {tmp_path}: is a directory"
    (tmp_path / "long.conf").write_bytes(b" " * (FILE_MAXIMUM + 1))
    found = read_network(str(tmp_path / "long.conf"))
    assert found
    assert "longer than 1,048,576 bytes" in found.flaw


@pytest.mark.parametrize(
    ("name", "id"), [("pods", "pods"), ("a b/c", "a-b-c"), ("..", "unnamed"), ("_x", "x")]
)
def test_ids(name: str, id: str) -> None:
    assert plugin_id(name) == id


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["1.0.0", "bridge"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "type", "ipam", "plugins", "cniVersion", "cniVersions"]), inner
        )
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from(["a.conf", "a.conflist", "a.json"]))
def test_whatever_a_file_holds_is_used_or_told_of(document: Any, path: str) -> None:
    found = parse(document, path)
    assert bool(found.flaw) != bool(found.needs and found.versions)
    assert ID_PATTERN.fullmatch(found.id)
    if not found.flaw:
        details = {"CNIVersion": found.versions[-1], "Needs": list(found.needs)}
        assert NetworkFingerprintSchema().load(details)["Needs"] == details["Needs"]


@given(st.binary())
def test_whatever_bytes_a_file_holds(data: bytes) -> None:
    assert parse(data).flaw
