"""Who may follow which events, and for how long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugind.model.times import SECOND
from tests.api.conftest import FEW_THREADS
from tests.api.gate import MANAGEMENT, NOBODY, acl_block, gate
from tests.api.test_rights_while_waiting import Harness
from tests.events.client import stream
from tests.promises import promised
from tests.support import FakeAgent, Live, down, serving, up


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path)


@pytest.fixture
def api(harness: Harness) -> Iterator[Live]:
    config = acl_block(harness.folder)
    with serving(harness.folder, live=True, config=config, **FEW_THREADS) as served:
        assert isinstance(served, Live)
        yield served


@pytest.mark.parametrize(
    ("query", "lacks"),
    [
        ("", "cni-read-plugin and exec-read-plugin and the node policy read or write"),
        ("?topic=*", "cni-read-plugin and exec-read-plugin and the node policy read or write"),
        ("?topic=Plugin", "cni-read-plugin and exec-read-plugin"),
        ("?topic=Plugin:ebs0", "cni-read-plugin and exec-read-plugin"),
        ("?topic=Plugin:exec/x&topic=CSIPlugin", "exec-read-plugin"),
        ("?topic=Node&topic=CSIPlugin", "the node policy read or write"),
        ("?topic=CSIPlugin&namespace=other", "csi-read-plugin"),
        ("?topic=Plugin:gone/x", "gone-read-plugin"),
    ],
)
def test_a_denial_names_what_is_missing(tmp_path: Path, query: str, lacks: str) -> None:
    made = gate(tmp_path, "csi-read")
    with serving(tmp_path, live=False, config=made.config) as api:
        answer = api.call("GET", f"/v1/event/stream{query}", headers=made.headers("csi-read"))
        assert (answer.status, answer.text) == (403, f"Permission denied: it needs {lacks}")
        answer = api.call("GET", f"/v1/event/stream{query}", headers=made.headers(NOBODY))
        assert answer.status == 403


def test_only_what_may_be_read_is_sent(tmp_path: Path) -> None:
    made = gate(tmp_path, "csi-read", "node-read")
    with serving(tmp_path, live=True, config=made.config, **FEW_THREADS) as api:
        assert isinstance(api, Live)
        agent = FakeAgent(api, token=made.secrets[MANAGEMENT])
        mine = "?topic=CSIPlugin&topic=Plugin:csi/ebs0&index=1"
        with (
            stream(api, mine, made.headers("csi-read")) as reader,
            stream(api, "?topic=Node&index=1", made.headers("node-read")) as watcher,
            stream(api, "?index=1", made.headers(MANAGEMENT)) as manager,
        ):
            checks = {"backup": {"check": up()}}
            agent.report({}, Plugins={"csi": {"ebs0": {"node": up()}}, "exec": checks})
            topics = {
                name: {each["Topic"] for each in found.line()["Events"]}
                for name, found in (("r", reader), ("w", watcher), ("m", manager))
            }
            assert topics == {
                "r": {"CSIPlugin", "Plugin"},
                "w": {"Node"},
                "m": {"CSIPlugin", "EXECPlugin", "Node", "Plugin"},
            }


def test_a_changed_policy_ends_a_stream_before_the_next_event(api: Live, harness: Harness) -> None:
    agent = FakeAgent(api, token=harness.manager)
    headers = {"X-Nomad-Token": harness.reader}
    with stream(api, headers=headers) as found:
        assert found.raw() == b"{}\n"
        harness.write('node { policy = "read" }')
        harness.reload(api)
        agent.report({"ebs0": {"node": up()}})
        line = found.line()
        assert line == {"Error": "Permission denied: the policies and tokens in force have changed"}
        assert found.raw() == b""


def test_policies_that_still_allow_it_do_not(api: Live, harness: Harness) -> None:
    agent = FakeAgent(api, token=harness.manager)
    with stream(api, headers={"X-Nomad-Token": harness.reader}) as found:
        harness.reload(api)
        agent.report({"ebs0": {"node": up()}})
        assert found.line()["Events"]


@pytest.mark.alone
def test_a_token_that_is_gone_ends_its_streams(api: Live, harness: Harness) -> None:
    with stream(api, headers={"X-Nomad-Token": harness.reader}) as found:
        assert found.raw() == b"{}\n"
        harness.write('plugin { policy = "read" }', reading=False)
        harness.reload(api)
        with promised(3.0):
            assert found.line() == {"Error": "ACL token not found"}


@pytest.mark.alone
def test_a_token_that_expires_ends_its_streams(api: Live, harness: Harness) -> None:
    harness.write('plugin { policy = "read" }', expires=time.time_ns() + 2 * SECOND)
    harness.reload(api)
    agent = FakeAgent(api, token=harness.manager)
    with stream(api, "?topic=Plugin", {"X-Nomad-Token": harness.reader}) as found:
        agent.report({"ebs0": {"node": up()}})
        assert found.line()["Events"]
        with promised(5.0):
            assert found.line() == {"Error": "ACL token not found"}
        agent.report({"ebs0": {"node": down()}})
        assert found.raw() == b""
