"""The kinds of policies that Nomad accepts and refuses, each in a small file written for this test.

Nomad refuses everything that is refused here, and loads everything that loads here.
"""

# A row of a table reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from plugind.acl import Acl, Caller, load_acl
from plugind.errors import ConfigError
from plugind.types.registry import load_registry
from tests.acl.support import mistakes_of, write

TYPES = tuple(load_registry().types.values())

READ_DEFAULT = [('namespace "default"', "read", set())]

LOADS: dict[str, tuple[str, list[tuple[str, str, set[str]]]]] = {
    "a namespace": ('namespace "default" { policy = "read" }', READ_DEFAULT),
    "a label without quotes": ('namespace default { policy = "read" }', READ_DEFAULT),
    "a name in quotes": ('namespace "default" { "policy" = "read" }', READ_DEFAULT),
    "a block's name in quotes": ('"namespace" "default" {\n  "policy" = "read"\n}', READ_DEFAULT),
    "commas between settings": (
        'namespace "default" { policy = "read", capabilities = ["read-logs"] }',
        [('namespace "default"', "read", {"read-logs"})],
    ),
    "a comma behind the last setting": (
        'namespace "default" {\n  policy = "read",\n  capabilities = ["read-logs",],\n},\n',
        [('namespace "default"', "read", {"read-logs"})],
    ),
    "commas between blocks": (
        'node { policy = "read" }, agent { policy = "write" },',
        [("node", "read", set()), ("agent", "write", set())],
    ),
    "a block as an object": ('node = { "policy" = "deny", }', [("node", "deny", set())]),
    "capabilities alone": (
        'namespace "secret" { capabilities = ["deny", "read-logs"] }',
        [('namespace "secret"', "", {"deny", "read-logs"})],
    ),
    "a level for scaling": (
        'namespace "autoscaler" { policy = "scale" }',
        [('namespace "autoscaler"', "scale", set())],
    ),
    "variables": (
        'namespace "apps" {\n  variables {\n    path "jobs/*" { capabilities = ["write", "destroy"] }\n  }\n}',
        [('namespace "apps"', "", set())],
    ),
    "${ in a variable's path": (
        'namespace "apps" { variables { path "jobs/${nomad.job}/%{x}" { capabilities = ["read"] } } }',
        [('namespace "apps"', "", set())],
    ),
    "an override of sentinel's": (
        'namespace "default" { capabilities = ["sentinel-override"] }',
        [('namespace "default"', "", {"sentinel-override"})],
    ),
    "sentinel": (
        'sentinel {\n  policy       = "read"\n  capabilities = ["sentinel-delete", "submit"]\n}',
        [("sentinel", "read", {"sentinel-delete", "submit"})],
    ),
    "operator": (
        'operator {\n  policy = "read"\n  capabilities = ["snapshot-save"]\n}',
        [("operator", "read", {"snapshot-save"})],
    ),
    "host volumes": (
        'host_volume "tls-*" { capabilities = ["mount-readwrite"] }\nhost_volume "db" { policy = "write" }',
        [('host_volume "tls-*"', "", {"mount-readwrite"}), ('host_volume "db"', "write", set())],
    ),
    "node pools": (
        'node_pool "*" { policy = "read" capabilities = ["write", "delete"] }',
        [('node_pool "*"', "read", {"write", "delete"})],
    ),
    "quota": ('quota { policy = "read" }', [("quota", "read", set())]),
    "plugins that may be listed": ('plugin { policy = "list" }', [("plugin", "list", set())]),
    "JSON": (
        '{"namespace": {"default": {"policy": "read"}}, "plugin": {"policy": "read"}}',
        [*READ_DEFAULT, ("plugin", "read", set())],
    ),
    "JSON with lists and commas behind the last items": (
        '\n {"namespace": [{"default": {"policy": "read",},},\n'
        '  {"apps": {"variables": [{"path": [{"a/b": {"capabilities": ["read",],},},],},],},},],\n'
        '  "agent": [{"policy": "read"},],}',
        [*READ_DEFAULT, ('namespace "apps"', "", set()), ("agent", "read", set())],
    ),
    "JSON behind a byte-order mark": (
        '\ufeff{"node": {"policy": "read"}}',
        [("node", "read", set())],
    ),
}


def loaded(folder: Path, text: str, file: str = "a.hcl") -> Acl:
    return load_acl(write(folder, {file: text}), None, TYPES)


@pytest.mark.parametrize("kind", LOADS)
def test_policies_that_nomad_takes_load(tmp_path: Path, kind: str) -> None:
    text, rules = LOADS[kind]
    acl = loaded(tmp_path, text)
    assert acl.warnings == ()
    found = [(str(rule), rule.level, set(rule.capabilities)) for rule in acl.policies["a"].rules]
    assert sorted(found) == sorted(rules)


REFUSED = {
    "a level of another word": ('namespace "a" { policy = "foo" }', 'unknown policy level "foo"'),
    "a misspelt level in quotes": ('namespace "a" { "policy" = "raed" }', 'unknown policy level "raed"; did you mean "read"?'),
    "a misspelt name in quotes": ('namespace "a" { "polcy" = "read" }', 'unknown setting "polcy" in namespace "a"; did you mean "policy"?'),
    "a misspelt block in quotes": ('"namespac" "a" { policy = "read" }', 'unknown block "namespac"; did you mean "namespace"?'),
    "no label": ('namespace { policy = "read" }', "namespace needs one label"),
    "an empty label": ('namespace "" { policy = "read" }', "has a bad label"),
    "an empty label in JSON": ('{"namespace": [{"": {"policy": "read"}}]}', "has a bad label"),
    "a label with a blank": ('namespace "has a space" { policy = "read" }', "has a bad label"),
    "nothing at all": ("namespace {}", "namespace needs one label"),
    "an unknown capability": ('namespace "a" { capabilities = ["deny", "foo"] }', 'unknown capability "foo"'),
    "a misspelt capability": ('namespace "a" { capabilities = ["read-lgs"] }', 'did you mean "read-logs"?'),
    "a misspelt capability of sentinel's": ('sentinel { capabilities = ["sentinel-delet"] }', 'did you mean "sentinel-delete"?'),
    "variables with a label": ('namespace "a" { variables "*" { capabilities = ["read"] } }', "variables"),
    "variables without a path": ('namespace "a" { variables {} }', "variables needs a path"),
    "a path without a label": ('namespace "a" { variables { path {} } }', "path needs one label"),
    "a misspelt path": ('{"namespace": [{"a": {"variables": [{"paths": [{"": {"capabilities": ["read"]}}]}]}}]}', 'unknown setting "paths"'),
    "agent": ('agent { policy = "foo" }', 'unknown policy level "foo"'),
    "node": ('node { policy = "foo" }', 'unknown policy level "foo"'),
    "operator": ('operator { policy = "foo" }', 'unknown policy level "foo"'),
    "quota": ('quota { policy = "foo" }', 'unknown policy level "foo"'),
    "plugin": ('plugin { policy = "reader" }', 'did you mean "read"?'),
    "the answer of Nomad's API": ('{"Name": "p", "Description": "d", "Rules": "anything"}', 'unknown block "Rules"'),
    "a host volume with a blank": ('host_volume "a b" { capabilities = ["mount-readwrite"] }', "has a bad label"),
    "a host volume without a label": ('host_volume { policy = "read" }', "host_volume needs one label"),
    "a host volume with an empty label": ('{"host_volume": [{"": {"policy": "read"}}]}', "has a bad label"),
    "a node pool without a label": ('node_pool { policy = "read" }', "node_pool needs one label"),
    "an escape that is none": ('namespace "\\500" {}', "is not an escape"),
    "a comma in front": ('namespace "a" { , policy = "read" }', "expected name = value"),
    "two commas": ('namespace "a" { policy = "read",, capabilities = [] }', "expected name = value"),
    "a comma without a block": (",", "expected name = value"),
    "a comma behind a label": ('namespace "a", { policy = "read" }', "expected name = value"),
    "a comma in front in JSON": ('{"node": {, "policy": "read"}}', "not JSON"),
    "two commas in JSON": ('{"node": {"policy": "read",,}}', "not JSON"),
    "only a comma in JSON": ('{"namespace": [,]}', "not JSON"),
    "JSON that ends early": ('{"node": {"policy": "read"}', "not JSON"),
    "a name in quotes that is none": ('node { "pol icy" = "read" }', "expected name = value"),
    "${ in a level": ('node { policy = "${read}" }', 'unknown policy level "${read}"'),
    "a variable without quotes": ("node { policy = ${read} }", "expected name = value"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_mistakes_that_nomad_refuses_are_reported(tmp_path: Path, kind: str) -> None:
    text, mistake = REFUSED[kind]
    with pytest.raises(ConfigError) as raised:
        loaded(tmp_path, text)
    assert any(mistake in each for each in mistakes_of(raised)), mistakes_of(raised)


def test_positions_are_those_of_the_file(tmp_path: Path) -> None:
    text = '"node" { "policy" = "read" }, "agent" { policy = "${x}",\n "x" = 1, }'
    with pytest.raises(ConfigError) as raised:
        loaded(tmp_path, text)
    assert [each.partition("; ")[0] for each in mistakes_of(raised)] == [
        'a.hcl:1:41: unknown policy level "${x}"',
        'a.hcl:2:2: unknown setting "x" in agent',
    ]


NAMES: list[tuple[str, str, str]] = [
    ("anonymous.policy.hcl", "anonymous.policy", "anonymous.hcl"),
    ("my_team.hcl", "my_team", "my-team.hcl"),
    ("v1.2.json", "v1.2", "v1.json"),
]


@pytest.mark.parametrize(("file", "name", "better"), NAMES)
def test_a_file_may_have_a_name_that_nomad_does_not_allow(
    tmp_path: Path, file: str, name: str, better: str
) -> None:
    acl = loaded(tmp_path, '{"node": {"policy": "read"}}', file)
    assert list(acl.policies) == [name]
    (warning,) = acl.warnings
    assert Path(warning.source).name == file
    assert warning.text.startswith(f'is the policy "{name}", a name with other characters')
    assert warning.text.endswith(f"rename the file to {better}")
    assert acl.authorizer(Caller("", "", "client", (name,))).may_read_nodes().allowed
    anonymous: Any = acl.authorizer(Caller("", "", "client", ("anonymous",)))
    assert not anonymous.may_read_nodes().allowed
