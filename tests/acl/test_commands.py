"""The ``plugind acl`` commands, as people and programs use them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from plugind.acl import load_acl
from plugind.cli.acl import create
from plugind.model.times import SECOND, parse_time
from tests.acl.support import TYPES
from tests.test_cli import plugind


def test_a_token_that_is_created_works(tmp_path: Path) -> None:
    words = (
        "--name",
        "dashboard of ${team}",
        "--policy",
        "b",
        "--policy",
        "a",
        "--expires-in",
        "1h",
    )
    done = plugind("acl", "token", "create", *words)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    secret, block = lines[2], "\n".join(lines[6:])
    assert lines[0] == "The secret, which cannot be shown again:"
    assert done.stdout.count(secret) == 1
    file = tmp_path / "tokens.hcl"
    file.write_text(block)
    (tmp_path / "policies").mkdir()
    acl = load_acl(tmp_path / "policies", file, TYPES)
    caller = acl.caller(secret, time.time_ns())
    assert (caller.name, caller.type) == ("dashboard of ${team}", "client")
    assert caller.policies == ("a", "b")
    (token,) = acl.tokens.values()
    assert token.expires is not None
    assert 3590 < (token.expires - time.time_ns()) / SECOND <= 3600


def test_json(tmp_path: Path) -> None:
    done = plugind("acl", "token", "create", "--type", "management", "--json")
    made = json.loads(done.stdout)
    file = tmp_path / "tokens.hcl"
    file.write_text(made.pop("Block"))
    (tmp_path / "policies").mkdir()
    acl = load_acl(tmp_path / "policies", file, TYPES)
    caller = acl.caller(made.pop("SecretID"), 0)
    assert made == {
        "AccessorID": caller.accessor,
        "Name": caller.name,
        "Type": "management",
        "Policies": [],
        "ExpirationTime": None,
    }
    words = ("--policy", "a", "--expires-in", "24h", "--json")
    made = json.loads(CliRunner().invoke(create, words).stdout)
    assert parse_time(made["ExpirationTime"]) > time.time_ns() + 23 * 3600 * SECOND


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "the token would grant nothing: name a --policy, or --type management"),
        (("--type", "management", "--policy", "a"), "a management token may do everything"),
        (("--policy", "a b"), "--policy 'a b' is not a policy's name"),
        (("--policy", "a", "--name", "a\nb"), "--name must have at most 256 characters"),
        (("--policy", "a", "--expires-in", "soon"), "--expires-in 'soon' is not a duration"),
        (("--policy", "a", "--expires-in", "2100000h"), "--expires-in '2100000h' is too long"),
        (("--policy", "a", "--expires-in", "0"), "--expires-in must be at least 1s"),
        (("--policy", "a", "--expires-in", "-1h"), "--expires-in must be at least 1s"),
    ],
)
def test_a_token_that_makes_no_sense(words: tuple[str, ...], expected: str) -> None:
    done = CliRunner().invoke(create, words)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {expected}")
    assert done.stderr.count("\n") == 1


def test_a_policy_in_peoples_words(tmp_path: Path) -> None:
    reader = tmp_path / "reader.hcl"
    reader.write_text(
        "# For dashboards.\n"
        'namespace "default" {\n  policy = "read"\n'
        '  capabilities = ["csi-register-plugin"]\n}\n'
        'namespace "team-*" { capabilities = ["csi-read-plugin", "cs-read-plugin"] }\n'
        'namespace "secret" { policy = "deny" }\n'
        'node { policy = "write" }\nagent { policy = "read" }\nquota { policy = "read" }\n'
    )
    closed = tmp_path / "closed.hcl"
    closed.write_text('namespace "*" { policy = "read" }\nplugin { policy = "deny" }\n')
    nothing = tmp_path / "nothing.hcl"
    nothing.write_text('operator { policy = "read" }')
    done = plugind("acl", "policy", "check", reader, closed, nothing)
    assert done.returncode == 0
    assert done.stderr == (
        f'Warning: {reader}:6:57: "cs-read-plugin" grants nothing: no plugin type "cs" is '
        'installed; did you mean "csi"?\n'
    )
    shown = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert shown == [
        "Policy reader: For dashboards.",
        "Rule Line Allows",
        'namespace "default" 2 list and read plugins of cni and exec; '
        "list, read and register plugins of csi",
        'namespace "team-*" 6 read plugins of csi',
        'namespace "secret" 7 nothing: denied',
        "node 8 read and write nodes; register plugins of every type",
        "agent 9 read the agent",
        "",
        "Policy closed",
        "Rule Line Allows",
        'namespace "*" 1 nothing',
        "plugin 2 nothing: denied",
        "",
        "Policy nothing",
        "Nothing.",
    ]


def test_all_mistakes_of_policies(tmp_path: Path) -> None:
    bad = tmp_path / "bad.hcl"
    bad.write_text('nod { policy = "read" }\nnode { policy = "reed" }\n')
    worse = tmp_path / "worse.hcl"
    worse.write_text("(")
    done = plugind("acl", "policy", "check", bad, worse, tmp_path / "none.hcl")
    assert (done.returncode, done.stdout) == (1, "")
    assert [line.removeprefix(f"{tmp_path}/")[:20] for line in done.stderr.splitlines()] == [
        "bad.hcl:1:1: unknown",
        "bad.hcl:2:8: unknown",
        "none.hcl: cannot be ",
        "worse.hcl:1:1: this ",
        "Error: the configura",
    ]
