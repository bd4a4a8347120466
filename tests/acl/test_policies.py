"""Policies as Nomad's users write them load; misspelt words are reported with their places."""

# A row of a table reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

import time
from pathlib import Path

import pytest

from plugind.acl import load_acl
from plugind.acl.policies import description
from plugind.errors import ConfigError
from plugind.types.registry import load_registry
from tests.acl.support import TYPES, mistakes_of, policies, write

EVERYTHING_OF_NOMADS = """
# Whatever a policy of Nomad may say.

namespace "*" {
  policy       = "write" # also in a remark
  capabilities = ["alloc-node-exec", "csi-register-plugin", "csi-mount-volume"]

  variables {
    path "projects/*" {
      capabilities = ["list", "read", "write", "destroy"]
    }
    path "nomad/jobs" {
      capabilities = ["deny"]
    }
  }
}
namespace "batch-*" {
  capabilities = [
    "list-jobs", "parse-job", "read-job", "submit-job", "dispatch-job", "scale-job",
    "register-job", "revert-job", "deregister-job", "purge-job", "evaluate-job", "plan-job",
    "tag-job-version", "stable-job", "force-periodic-job", "delete-service-registration",
    "read-logs", "read-fs", "alloc-exec", "alloc-lifecycle", "gc-allocation", "pause-allocation",
    "fail-deployment", "pause-deployment", "promote-deployment", "unblock-deployment",
    "cancel-deployment", "set-alloc-health-deployment",
    "csi-read-volume", "csi-list-volume", "csi-write-volume",
    "host-volume-create", "host-volume-register", "host-volume-read", "host-volume-write",
    "host-volume-delete", "list-scaling-policies", "read-scaling-policy", "read-job-scaling",
    "submit-recommendation", "sentinel-override",
  ]
}
namespace "scaled" { policy = "scale" }
namespace "hidden" { capabilities = ["deny", "read-logs"] }
namespace default { policy = "read" capabilities = ["read-fs"] }
namespace "empty" {}
node_pool "pool_1-*" {
  policy = "read"
  capabilities = ["write", "delete"]
}
node_pool "other" { capabilities = ["deny"] }
host_volume "tls-*" { capabilities = ["mount-readonly"] }
host_volume "data" {
  policy       = "write"
  capabilities = ["mount-readwrite"]
}
agent { policy = "write" }
node { policy = "read" }
operator {
  policy       = "read"
  capabilities = ["snapshot-save", "license-read", "keyring-rotate", "keyring-read", "keyring-delete"]
}
sentinel {
  policy       = "read"
  capabilities = ["submit", "delete"]
}
quota { policy = "write" }
plugin { policy = "list" }
"""

JSON_OF_NOMADS = """{
  "namespace": [
    {"default": {"policy": "read"}},
    {"team": {"capabilities": ["deny", "read-logs"],
      "variables": [{"path": [{"a/b": {"capabilities": ["write"]}}, {"c": {"capabilities": []}}]}]}}
  ],
  "host_volume": {"tls-*": {"policy": "read"}, "data": [{"policy": "write"}]},
  "agent": [{"policy": "read"}],
  "node": {"policy": "write"},
  "plugin": {"policy": "read"}
}"""


def test_all_that_nomad_knows_loads(tmp_path: Path) -> None:
    types = load_registry().types.values()
    acl = policies(tmp_path, types, all=EVERYTHING_OF_NOMADS)
    assert acl.warnings == ()
    policy = acl.policies["all"]
    assert policy.description == "Whatever a policy of Nomad may say."
    assert [str(rule) for rule in policy.rules][:3] == [
        'namespace "*"',
        'namespace "batch-*"',
        'namespace "scaled"',
    ]
    assert (policy.rules[0].place.line, policy.rules[0].place.column) == (4, 1)
    assert len(policy.rules) == 16


def test_the_examples_load() -> None:
    folder = Path(__file__).parent.parent.parent / "conf/server/acl/policies"
    acl = load_acl(folder, None, load_registry().types.values())
    assert acl.warnings == ()
    assert all(policy.description for policy in acl.policies.values())
    assert len(acl.policies) == 3


def test_json_in_every_form_loads(tmp_path: Path) -> None:
    acl = load_acl(write(tmp_path, {"all.json": JSON_OF_NOMADS}), None, TYPES)
    assert acl.warnings == ()
    assert [(str(rule), rule.level, rule.place.line) for rule in acl.policies["all"].rules] == [
        ('host_volume "tls-*"', "read", 7),
        ('host_volume "data"', "write", 7),
        ("node", "write", 9),
        ("plugin", "read", 10),
        ('namespace "default"', "read", 3),
        ('namespace "team"', "", 4),
        ("agent", "read", 8),
    ]


def test_objects_stand_for_blocks_in_hcl_too(tmp_path: Path) -> None:
    text = 'node = { policy = "read" }\nnamespace = { default = { policy = "read" } }\n'
    rules = policies(tmp_path, a=text).policies["a"].rules
    assert [str(rule) for rule in rules] == ["node", 'namespace "default"']


def test_a_pattern_may_be_repeated(tmp_path: Path) -> None:
    text = 'namespace "a" { policy = "read" }\nnamespace "a" { policy = "deny" }\n'
    assert len(policies(tmp_path, a=text).policies["a"].rules) == 2


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ('namespac "a" {}', '1:1: unknown block "namespac"; did you mean "namespace"?'),
        ("colour = 1", '1:1: unknown block "colour"; use one of: agent, host_volume, namespace, node, node_pool, operator, plugin, quota, sentinel'),
        ("node = 1", "1:1: node is a block: write node { ... }"),
        ("namespace = []", '1:1: namespace is a block: write namespace "NAME" { ... }'),
        ('namespace { policy = "read" }', '1:1: namespace needs one label: write namespace "NAME" { ... }'),
        ('namespace "a" "b" {}', '1:1: namespace needs one label: write namespace "NAME" { ... }'),
        ('namespace "a b" {}', '1:1: namespace "a b" has a bad label: use 1 to 128 letters, digits, dashes or *'),
        ('namespace "" {}', '1:1: namespace "" has a bad label: use 1 to 128 letters, digits, dashes or *'),
        ('node_pool "a%" {}', '1:1: node_pool "a%" has a bad label: use 1 to 128 letters, digits, dashes, underscores or *'),
        ('node "a" { policy = "read" }', "1:1: node takes no label: write node { ... }"),
        ("node {}", '1:1: node has no level: write policy = "read"'),
        ('node { policy = "read" }\nnode { policy = "write" }', "2:1: node is repeated; it is in line 1 already"),
        ('\nnode {\n  policy = "reed"\n}', '3:3: unknown policy level "reed"; did you mean "read"?'),
        ('node { policy = "list" }', '1:8: unknown policy level "list"; use one of: deny, read, scale, write'),
        ('plugin { policy = "scale" }', '1:10: unknown policy level "scale"; use one of: deny, list, read, write'),
        ("node { policy = 1 }", '1:8: policy must be text in quotes, such as "read"'),
        ('node { polcy = "read" }', None),
        ('node { capabilities = ["read"] }', None),
        ('namespace "a" { polcy = "read" }', '1:17: unknown setting "polcy" in namespace "a"; did you mean "policy"?'),
        ('namespace "a" { policy = "read" policy = "read" }', "1:33: policy is repeated; it is in line 1 already"),
        ('namespace "a" { variable {} }', '1:17: unknown block "variable" in namespace "a"; did you mean "variables"?'),
        ('namespace "a" { capabilities = "deny" }', '1:17: capabilities must be a list of texts, ["...", "..."]'),
        ('namespace "a" { capabilities = ["deny",\n  3] }', "2:3: capabilities[1] must be text in quotes"),
        ('namespace "a" { capabilities = ["disk-lst-plugin"] }', '1:33: unknown capability "disk-lst-plugin"; did you mean "disk-list-plugin"?'),
        ('namespace "a" { capabilities = ["disk-mount-volum"] }', '1:33: unknown capability "disk-mount-volum"; did you mean "disk-mount-volume"?'),
        ('namespace "a" { capabilities = ["@"] }', '1:33: unknown capability "@"; docs/acl.md lists all'),
        ('node_pool "a" { capabilities = ["red"] }', '1:33: unknown capability "red"; did you mean "read"?'),
        ('operator { capabilities = ["list-jobs"] }', None),
        ('namespace "a" { variables {} }', '1:17: variables needs a path: write path "PATH" { ... }'),
        ('namespace "a" { variables { paths "x" {} } }', '1:29: unknown block "paths" in variables; did you mean "path"?'),
        ('namespace "a" { variables { path "/x" {} } }', '1:29: path needs one label, not beginning with /: write path "a/b" { ... }'),
        ('namespace "a" { variables { path "x" { capabilities = ["reed"] } } }', '1:56: unknown capability "reed"; did you mean "read"?'),
        ('namespace "a" { variables { path "x" { policy = "read" } } }', '1:40: unknown setting "policy" in path; use one of: capabilities'),
        ("x = = 1", None),
        ('namespace "a\\n\\u001b\\u2028" {}', '1:1: namespace "a???" has a bad label: use 1 to 128 letters, digits, dashes or *'),
        ('node_pool "a" { capabilities = ["red\\n"] }', '1:33: unknown capability "red?"; did you mean "read"?'),
        ("a" * 300 + " {}", f'1:1: unknown block "{"a" * 64}"; use one of: agent, host_volume, namespace, node, node_pool, operator, plugin, quota, sentinel'),
    ],
)  # fmt: skip
def test_one_mistake(tmp_path: Path, text: str, mistake: str | None) -> None:
    with pytest.raises(ConfigError) as raised:
        policies(tmp_path, a=text)
    found = mistakes_of(raised)
    if mistake is None:
        assert found[0].startswith("a.hcl:1:")
    else:
        assert found == [f"a.hcl:{mistake}"]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ('{"nod": {"policy": "read"}}', '1:2: unknown block "nod"; did you mean "node"?'),
        ('{"namespace":\n {"policy": "read"}}', '2:3: namespace needs one label: write namespace "NAME" { ... }'),
        ('{"namespace": [{"a":\n {"policy": "reed"}}]}', '2:3: unknown policy level "reed"; did you mean "read"?'),
        ('{"namespace": [{"a": {"capabilities":\n ["deny", "read-lgs"]}}]}', '2:11: unknown capability "read-lgs"; did you mean "read-logs"?'),
        ('{"node": {"x": {"policy": "read"}, "policy": "read"}}', '1:11: unknown block "x" in node; use one of: policy'),
    ],
)  # fmt: skip
def test_one_mistake_in_json(tmp_path: Path, text: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_acl(write(tmp_path, {"a.json": text}), None, TYPES)
    assert mistakes_of(raised) == [f"a.json:{mistake}"]


def test_all_mistakes_of_all_files_at_once(tmp_path: Path) -> None:
    files = {
        "a.hcl": "node {}\nx {}\n",
        "a.json": '{"node": {"policy": "no"}}',
        "b c.hcl": 'node { policy = "read" }',
        "d.hcl": "(",
        "notes.txt": "(",
        ".a.hcl": "(",
    }
    with pytest.raises(ConfigError) as raised:
        load_acl(write(tmp_path, files), tmp_path / "none.hcl", TYPES)
    assert [line.partition(";")[0] for line in mistakes_of(raised)] == [
        'a.hcl:1:1: node has no level: write policy = "read"',
        'a.hcl:2:1: unknown block "x"',
        'a.json: policy "a" is in a.hcl already',
        'a.json:1:11: unknown policy level "no"',
        'b c.hcl: "b c.hcl" is not a policy\'s name: use 1 to 128 letters, digits or dashes, and .hcl or .json',
        "d.hcl:1:1: this ( is never closed",
        "none.hcl: cannot be read: No such file or directory",
    ]


@pytest.mark.parametrize("name", ["ops", "team_ops", "ops.v2"])
def test_a_policy_in_two_files_is_refused_whatever_its_name(tmp_path: Path, name: str) -> None:
    files = {f"{name}.hcl": 'node { policy = "read" }', f"{name}.json": "{}"}
    with pytest.raises(ConfigError) as raised:
        load_acl(write(tmp_path, files), None, TYPES)
    (mistake,) = mistakes_of(raised)
    assert mistake.startswith(f'{name}.json: policy "{name}" is in {name}.hcl already')


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_acl(tmp_path / "none", None, TYPES)
    assert mistakes_of(raised) == ["none: cannot be read: No such file or directory"]


def test_rules_that_grant_nothing_are_warned_of(tmp_path: Path) -> None:
    text = (
        'namespace "a" { capabilities = ["dsk-list-plugin", "net-read-plugin"] }\n'
        'namespace "b" { policy = "list" }\n'
        'plugin { policy = "write" }\n'
    )
    acl = policies(tmp_path, a=text, b="# later\n")
    assert [(Path(w.source).name, w.line, w.column, w.text) for w in acl.warnings] == [
        ("a.hcl", 1, 33, '"dsk-list-plugin" grants nothing: no plugin type "dsk" is installed; did you mean "disk"?'),
        ("a.hcl", 2, 17, 'policy = "list" grants nothing in a namespace block; write capabilities = ["TYPE-list-plugin"]'),
        ("a.hcl", 3, 10, 'policy = "write" grants nothing in a plugin block; write policy = "read"'),
        ("b.hcl", 1, 1, "this policy has no rule: it grants nothing"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "first_comment"),
    [
        ("# One\n# line.\n\n# Another.", "One line."),
        ("\ufeff\n  // One\n\t//line.\nnode {}", "One line."),
        ("/* One\n * line. */\nnode {}", "One line."),
        ("## One", "One"),
        ("# O\x1bne\x85\u2028line", "One line"),
        ("node {} # a remark", ""),
        ('{"a": "# no"}', ""),
        ("", ""),
        ("#" + "x" * 1000, "x" * 256),
    ],
)
def test_the_first_comment_is_the_description(text: str, first_comment: str) -> None:
    assert description(text) == first_comment


@pytest.mark.parametrize(
    "text",
    [
        "namespace {" * 50_000,
        "x {}\n" * 5_000,
        "#" * 300_000,
        "node = " + "[" * 100_000,
        'namespace "a" { capabilities = [' + '"lst-jobs",' * 5_000 + "] }\n",
        'namespace "a" { policy = "' + "lst" * 50_000 + '" }\n',
        '{"namespace": ' + "[" * 100_000,
    ],
    ids=lambda text: text[:20],
)
def test_hostile_policies_are_refused_quickly(tmp_path: Path, text: str) -> None:
    begun = time.thread_time()
    for name in ("a.hcl", "b.json"):
        with pytest.raises(ConfigError) as raised:
            load_acl(write(tmp_path / name, {name: text}), None, TYPES)
        assert len(raised.value.mistakes) <= 101
    assert time.thread_time() - begun < 5
