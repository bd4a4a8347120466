"""Network configurations, valid and invalid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_types.cni.networks import (
    FILE_MAXIMUM,
    Need,
    Network,
    parse_network,
    plugin_id,
    read_network,
    version_order,
)
from plugin_types.cni.schemas import NetworkFingerprintSchema
from plugind.wire.fields import ID_PATTERN


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
    assert parse(document, "a.conf").versions == ("0.4.0", "1.1.0", "1.9.0", "1.10.0")
    for more in ({"cniVersion": "0.4.0"}, {"cniVersion": ""}, {}):
        assert parse({**document, **more}, "a.conf").versions[-1] == "1.10.0"
    del document["cniVersion"]
    assert parse(document, "a.conf").versions == ("0.4.0", "1.9.0", "1.10.0")
    assert parse({**document, "cniVersions": []}, "a.conf").versions == ("0.1.0",)
    assert sorted(["1.0.0-rc1", "1.0.0"], key=version_order) == ["1.0.0", "1.0.0-rc1"]


@pytest.mark.parametrize(
    ("document", "name", "problem"),
    [
        (b"{", "", "is not JSON"),
        (b"\xff", "", "is not JSON"),
        (b"[" * 99_999, "", "is not JSON"),
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
        ({"name": "a", "cniVersions": [1], "plugins": [{"type": "x"}]}, "a", '"cniVersions"'),
        ({"name": "a", "plugins": [{"type": "x", "Type": 1}]}, "a", 'without a "type"'),
        ({"name": "a", "plugins": [{"type": "x", "ipam": "y"}]}, "a", '"ipam" is not an object'),
        ({"name": "a", "plugins": [{"type": "x", "IPAM": {"type": 1}}]}, "a", 'without a "type"'),
        ({"Name": "a", "plugins": [{"type": "x"}]}, "", 'has no "name"'),
        ({"name": "a", "Plugins": [{"type": "x"}]}, "a", 'has no list "plugins"'),
        ({"name": "a", "plugins": {}}, "a", 'has no list "plugins" with plugins in it'),
        ({"name": "a", "loadOnlyInlinedPlugins": 1}, "a", "neither true nor false"),
        ({"name": "a", "loadOnlyInlinedPlugins": "TRUE"}, "a", "and allows no others"),
        (b'{"name": "a", "plugins": [{"type": "x", "mtu": NaN}]}', "", "NaN is not a number"),
        (b'{"name": "a", "plugins": [{"type": "x", "mtu": -Infinity}]}', "", "is not JSON"),
        (b'\xef\xbb\xbf{"name": "a", "plugins": [{"type": "x"}]}', "", "is not JSON"),
        ('{"name": "a", "plugins": [{"type": "x"}]}'.encode("utf-16"), "", "is not JSON"),
        ('{"name": "a", "plugins": [{"type": "x"}]}'.encode("utf-32-le"), "", "is not JSON"),
        (
            {"name": "a", "plugins": [{"type": "x", "delegates": [{"type": "../y"}]}]},
            "a",
            'has a plugin without a "type"',
        ),
        (
            {"name": "a", "plugins": [{"type": "x", "delegate": {"plugins": [1]}}]},
            "a",
            'has a plugin without a "type"',
        ),
    ],
)
def test_networks_that_no_runtime_can_use(document: Any, name: str, problem: str) -> None:
    found = parse(document)
    assert found.name == name
    assert found.problem.startswith("/etc/cni/net.d/10-pods.conflist ")
    assert problem in found.problem
    assert not found.needs


def test_a_list_in_a_file_for_one_plugin() -> None:
    document = {"name": "a", "plugins": [{"type": "x"}]}
    assert parse(document, "/x/a.conf").problem == (
        "/x/a.conf holds a list of plugins; the name of such a file ends in .conflist"
    )


def test_keys_fit_whatever_their_case_where_go_decodes_into_a_struct() -> None:
    document = {"NAME": "a", "CNIversion": "1.0.0", "Type": "x", "Ipam": {"TYPE": "y"}}
    assert parse(document, "a.conf") == Network("a.conf", "a", ("1.0.0",), ("x", "y"))
    both = b'{"name": "a", "type": "x", "Type": "y", "tYpe": null}'
    assert parse(both, "a.conf").needs == ("y",), "the last one counts, and null does not"
    listed = {"name": "a", "plugins": [{"Type": "x", "ipam": None}]}
    assert parse(listed).needs == ("x",)


def test_text_that_is_no_unicode() -> None:
    found = parse(b'{"name": "a", "plugins": [{"type": "x\xff\\ud800"}]}')
    assert found.needs == ("x\ufffd\ufffd",)


def plugin(folder: Path, name: str, document: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(document if isinstance(document, str) else json.dumps(document))


def read(path: Path, document: Any) -> Network:
    path.write_text(json.dumps(document))
    found = read_network(str(path))
    assert found
    return found


def test_plugins_from_the_folder_of_the_network(tmp_path: Path) -> None:
    file = tmp_path / "10-a.conflist"
    inlined = {"name": "a", "cniVersion": "1.1.0", "plugins": [{"type": "x"}]}
    bare = {"name": "a", "cniVersion": "1.1.0"}
    assert read(file, inlined).needs == ("x",), "without a folder"
    plugin(tmp_path / "a", "20-z.conf", {"Type": "z", "ipam": {"type": "i"}})
    plugin(tmp_path / "a", "10-y.conf", {"type": "y", "delegates": [{"type": "d"}]})
    plugin(tmp_path / "a", "30-no.json", {"type": "no"})
    (tmp_path / "a" / "40-no.conf").mkdir()
    assert read(file, inlined).executables == ("x", "y", "z", "i", "d")
    assert read(file, bare).needs == ("y", "z", "i")
    assert read(file, {**bare, "loadOnlyInlinedPlugins": "false"}).needs == ("y", "z", "i")
    for only in (True, "true", "True"):
        assert read(file, {**inlined, "loadOnlyInlinedPlugins": only}).needs == ("x",)
    single = {"name": "a", "type": "x"}
    assert read(tmp_path / "20-a.conf", single).needs == ("x",), "lists only"


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ("{", "10-y.conf is not JSON"),
        ("[]", "10-y.conf holds no JSON object"),
        ("{}", '10-y.conf has a plugin without a "type"'),
        (" " * (FILE_MAXIMUM + 1), "10-y.conf is longer than 1,048,576 bytes"),
    ],
)
def test_a_mistake_in_the_folder_names_its_file(
    tmp_path: Path, document: str, problem: str
) -> None:
    plugin(tmp_path / "a", "10-y.conf", document)
    found = read(tmp_path / "10-a.conflist", {"name": "a", "plugins": [{"type": "x"}]})
    assert found.problem.startswith(f"{tmp_path}/a/{problem}")
    assert (found.name, found.needs) == ("a", ())


def test_an_empty_folder_is_reported_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    found = read(tmp_path / "10-a.conflist", {"name": "a"})
    assert found.problem == (
        f'{tmp_path}/10-a.conflist has no list "plugins", and {tmp_path}/a has no *.conf'
    )


def test_delegates_and_their_versions() -> None:
    document = {
        "name": "outer",
        "cniVersion": "1.0.0",
        "type": "multus",
        "Delegates": [
            {"cniVersion": "0.3.1", "plugins": [{"type": "flannel", "delegate": {"type": "b"}}]},
            {"type": "sriov", "ipam": {"type": "whereabouts"}},
            "by its name",
            {"name": "of another shape"},
        ],
        "delegate": {"mtu": 1400},
    }
    found = parse(document, "a.conf")
    assert found.needs == ("multus",)
    assert found.all_needs == (
        Need("multus", ("1.0.0",)),
        Need("flannel", ("0.3.1",)),
        Need("b", ("0.3.1",)),
        Need("sriov", ("1.0.0",)),
        Need("whereabouts", ("1.0.0",)),
    )


def test_delegates_of_delegates_are_bounded() -> None:
    document: dict[str, Any] = {"type": "x"}
    for _ in range(200):
        document = {"type": "x", "delegates": [document]}
    assert "nested too deep" in parse({"name": "a", **document}, "a.conf").problem


def test_configurations_from_the_field() -> None:
    cases = Path(__file__).parent / "cases" / "net.d"
    found = {path.name: read_network(str(path)) for path in sorted(cases.iterdir()) if path.suffix}
    needs = {name: network.executables for name, network in found.items() if network}
    assert needs == {
        "70-multus.conf": ("multus", "flannel", "portmap"),
        "agg.conflist": ("bridge", "not-there"),
        "case.conf": ("bridge",),
        "folder.conflist": ("bridge",),
        "nan.conflist": (),
    }


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert read_network(str(tmp_path / "gone.conf")) is None
    found = read_network(str(tmp_path))
    assert found
    assert found.problem == f"cannot read {tmp_path}: is a directory"
    (tmp_path / "long.conf").write_bytes(b" " * (FILE_MAXIMUM + 1))
    found = read_network(str(tmp_path / "long.conf"))
    assert found
    assert "longer than 1,048,576 bytes" in found.problem


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
            st.sampled_from(
                [
                    *("name", "type", "Type", "ipam", "plugins", "cniVersion", "cniVersions"),
                    *("delegates", "delegate", "loadOnlyInlinedPlugins"),
                ]
            ),
            inner,
        )
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from(["a.conf", "a.conflist", "a.json"]))
def test_any_content_of_a_file_is_used_or_reported(document: Any, path: str) -> None:
    found = parse(document, path)
    assert bool(found.problem) != bool(found.needs and found.versions)
    assert ID_PATTERN.fullmatch(found.id)
    if not found.problem:
        details = {"CNIVersion": found.versions[-1], "Needs": list(found.executables)}
        assert NetworkFingerprintSchema().load(details)["Needs"] == details["Needs"]


@given(st.binary())
def test_any_bytes_in_a_file(data: bytes) -> None:
    assert parse(data).problem
