"""``plugind plugin check`` as monitoring calls it: one line, and a reliable exit status."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import FakeAgent, Live, down, serving, up
from tests.test_cli import plugind

EXPECTED = """
plugin "csi" "rare" {
  nodes_expected = 3
}
"""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Live]:
    with serving(tmp_path, live=True, config=EXPECTED) as served:
        assert isinstance(served, Live)
        yield served


def check(id: str, address: str, *words: str) -> tuple[int, str]:
    done = plugind("plugin", "check", id, *words, address=address)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    return done.returncode, re.sub(r"since \S+ \(\w+ ago\)", "since TIME", done.stdout.strip())


def test_each_verdict_has_its_status(api: Live) -> None:
    FakeAgent(api).report(
        {
            "well": {"controller": up(), "node": up()},
            "some": {"controller": up(), "node": down("no | space\nleft")},
            "none": {"controller": down("it is " + "long " * 800), "node": down()},
            "rare": {"node": up()},
        }
    )
    assert check("well", api.address) == (
        0,
        "PLUGIND OK - csi/well: Controllers 1/1, Nodes 1/1 healthy "
        "| controllers=1;;;0;1 nodes=1;;;0;1",
    )
    assert check("csi/some", api.address) == (
        1,
        "PLUGIND WARNING - csi/some: Controllers 1/1, Nodes 0/1 healthy, "
        "node on vm1 since TIME: no / space left | controllers=1;;;0;1 nodes=0;;;0;1",
    )
    status, line = check("none", api.address)
    assert status == 2
    assert line.startswith("PLUGIND CRITICAL - csi/none: Controllers 0/1, Nodes 0/1 healthy, ")
    assert line.endswith("… | controllers=0;;;0;1 nodes=0;;;0;1")
    assert check("rare", api.address) == (
        1,
        "PLUGIND WARNING - csi/rare: Controllers 0/0, Nodes 1/3 healthy, "
        "fewer instances are known than are expected | controllers=0;;;0;0 nodes=1;;;0;3",
    )


def test_health_that_cannot_be_read_is_unknown(api: Live) -> None:
    assert check("nope", api.address) == (
        3,
        "PLUGIND UNKNOWN - no plugin 'nope'; 'plugind plugin status' lists all plugins",
    )
    for id, address, words, expected in (
        ("nope/well", api.address, (), "no plugin type 'nope'"),
        ("well", "http://127.0.0.1:1", (), "connection refused"),
        ("well", "nonsense", (), "is not a server's address"),
        ("well", api.address, ("--nope",), "No such option"),
        ("well", api.address, ("--ca-file", "/none"), "/none cannot be read: No such file"),
    ):
        status, line = check(id, address, *words)
        assert (status, line[:18]) == (3, "PLUGIND UNKNOWN - ")
        assert expected in line


def test_a_token_that_may_not_know_the_nodes_will_do(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "anonymous.hcl").write_text(
        'plugin { policy = "read" }\nnamespace "default" { capabilities = ["csi-register-plugin"] }'
    )
    (tmp_path / "tokens.hcl").write_text("")
    config = f"""acl {{
  enabled = true
  policies = "{tmp_path}/policies"
  tokens = "{tmp_path}/tokens.hcl"
}}"""
    with serving(tmp_path, live=True, config=config) as api:
        assert isinstance(api, Live)
        agent = FakeAgent(api)
        assert agent.report({"none": {"node": down()}}).status == 200
        status, line = check("none", api.address)
    assert status == 2
    assert f"node on {agent.node_id} since TIME: disk on fire" in line
