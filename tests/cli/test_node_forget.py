"""``plugind node forget`` for many nodes at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from plugind.cli.node_forget import age
from tests.promises import COMMAND_MAXIMUM
from tests.support import FakeAgent, Live, serving, up
from tests.test_cli import plugind


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Live]:
    """Serve with a node that is up and two that are down, in two datacenters."""
    with serving(tmp_path, live=True) as made:
        assert isinstance(made, Live)
        for name, datacenter in (("up1", "dc1"), ("down1", "dc1"), ("down2", "dc2")):
            agent = FakeAgent(made, name=name)
            assert agent.report({"ebs0": {"node": up()}}, Datacenter=datacenter).status == 200
            if name.startswith("down"):
                made.services.intake.silence([agent.node_id])
        yield made


def names(api: Live) -> set[str]:
    return {stub["Name"] for stub in api.call("GET", "/v1/nodes").json}


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        (("--down",), {"down1", "down2"}),
        (("--down", "--datacenter", "dc2"), {"down2"}),
        (("--down", "--older-than", "0s"), {"down1", "down2"}),
        (("--down", "--older-than", "7d"), set()),
        (("--datacenter", "dc1"), {"up1", "down1"}),
    ],
)
def test_the_selected_nodes_are_forgotten(
    api: Live, options: tuple[str, ...], gone: set[str]
) -> None:
    everything = names(api)
    done = plugind("node", "forget", *options, "--dry-run", address=api.address)
    assert (done.returncode, done.stderr) == (0, "")
    number = f"{len(gone)} node{'' if len(gone) == 1 else 's'}"
    last = f"Would forget {number}." if gone else "No such nodes."
    assert done.stdout.splitlines()[-1] == last
    assert all((name in done.stdout) is (name in gone) for name in everything)
    assert names(api) == everything
    done = plugind("node", "forget", *options, "--yes", address=api.address)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == (f"Forgot {number}." if gone else "No such nodes.")
    assert names(api) == everything - gone


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 1), ("n\n", 1, 3), ("", 1, 3)])
def test_it_asks_first(api: Live, answer: str, code: int, left: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "plugind", "node", "forget", "--down", "--address", api.address],
        input=answer,
        capture_output=True,
        text=True,
        timeout=COMMAND_MAXIMUM,
    )
    assert done.returncode == code
    assert "Forget 2 nodes and all that they reported? [y/N]" in done.stdout
    assert len(names(api)) == left


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "say which nodes"),
        (("vm1", "--down"), "give either"),
        (("vm1", "--datacenter", "dc1"), "give either"),
        (("--older-than", "7d", "--datacenter", "dc1"), "--older-than needs --down"),
        (
            ("--down", "--older-than", "7"),
            "'7' is not a duration; use one such as 7d, 12h or 1d12h",
        ),
        (("--datacenter", "dc9"), "no node in datacenter 'dc9'"),
    ],
)
def test_invalid_options(api: Live, words: tuple[str, ...], text: str) -> None:
    done = plugind("node", "forget", *words, "--yes", address=api.address)
    assert done.returncode != 0
    assert text in " ".join(done.stderr.split())
    assert len(names(api)) == 3


def test_one_node_may_be_looked_for_first(api: Live) -> None:
    done = plugind("node", "forget", "up1", "--dry-run", address=api.address)
    assert (done.returncode, done.stdout[:18]) == (0, "Would forget node ")
    assert "up1" in names(api)


def test_the_whole_id_frees_that_of_a_node_that_is_gone(api: Live) -> None:
    services = api.services
    lost = {each for each in services.feed.state.lost() if isinstance(each.what, str)}
    services.intake.collect(lost)
    node_id = str(next(iter(lost)).what)
    done = plugind("node", "forget", node_id, address=api.address)
    assert done.stdout == f"Node {node_id} is not listed; its ID is free for another agent.\n"
    assert FakeAgent(api, node_id, secret="another").report({}).status == 200
    missing = node_id.replace(node_id[:8], "00000000")
    done = plugind("node", "forget", missing, address=api.address)
    assert done.returncode == 1
    assert f"no node '{missing}'" in done.stderr


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7d", 604_800.0), ("1d12h", 129_600.0), ("90m", 5_400.0), ("0d", 0.0), ("1.5h", 5_400.0)],
)
def test_ages(text: str, seconds: float) -> None:
    assert age(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "-7d", "7d-1h", "1h7d", "999999d"])
def test_invalid_ages(text: str) -> None:
    with pytest.raises(click.BadParameter):
        age(text)
