"""Rights are checked again after a wait: a caller may have lost them meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from plugind.acl.tokens import block, draw
from tests.api.gate import acl_block
from tests.promises import PATIENCE
from tests.support import Answer, Api, FakeAgent, down, eventually, serving, up

READER = 'plugin { policy = "read" }\nnode { policy = "read" }\n'
NODE_ID = "2f8d0c5e-6f7b-4e0a-9a53-1f6f4f0c8a11"
PATHS = ["/v1/plugins?type=csi", "/v1/plugin/csi/ebs0", "/v1/nodes", f"/v1/node/{NODE_ID}"]
SOON = 1.0  # seconds until a token expires

Park = Callable[[str], Future[Answer]]


class Harness:
    """A server, a reader whose token and policy tests change, and an agent that reports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manager, self._managing = draw("manager", "management", [], None)
        self.reader, self._reading = draw("reader", "client", ["reader"], None)
        (folder / "policies").mkdir()
        self.write(READER)

    def write(self, policy: str, *, reading: bool = True, expires: int | None = None) -> None:
        (self.folder / "policies/reader.hcl").write_text(policy)
        text = block(self._managing)
        if reading:
            kept = self._reading
            text += block(type(kept)(kept.caller, kept.hash, expires))
        (self.folder / "tokens.hcl").write_text(text)

    def reload(self, api: Api) -> None:
        api.services.reload(api.services.settings)


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path)


@pytest.fixture(params=["in-process", "live"])
def api(request: pytest.FixtureRequest, harness: Harness) -> Iterator[Api]:
    live = request.param == "live"
    with serving(harness.folder, live=live, config=acl_block(harness.folder)) as served:
        yield served


@pytest.fixture
def agent(api: Api, harness: Harness) -> FakeAgent:
    made = FakeAgent(api, NODE_ID, token=harness.manager)
    assert made.report({"ebs0": {"node": up()}}).status == 200
    return made


@pytest.fixture
def park(api: Api, harness: Harness, agent: FakeAgent) -> Iterator[Park]:
    with ThreadPoolExecutor(len(PATHS)) as pool:

        def send(path: str) -> Future[Answer]:
            before = api.services.catalogue.parked
            headers = {"X-Nomad-Token": harness.reader}
            future = pool.submit(api.call, "GET", path, None, headers)
            eventually(lambda: api.services.catalogue.parked > before or future.done())
            return future

        yield send
        api.services.wake()


def waiting(agent: FakeAgent, path: str, wait: str = "1m") -> str:
    return f"{path}{'&' if '?' in path else '?'}index={agent.index}&wait={wait}"


def test_a_token_that_was_revoked(api: Api, harness: Harness, agent: FakeAgent, park: Park) -> None:
    parked = [park(waiting(agent, path)) for path in PATHS]
    harness.write(READER, reading=False)
    harness.reload(api)
    assert api.services.catalogue.parked == len(PATHS), "a reload wakes nobody"
    agent.report({"ebs0": {"node": down()}})
    for each in parked:
        answer = each.result(PATIENCE)
        assert (answer.status, answer.text) == (403, "ACL token not found")
        assert "x-nomad-index" not in answer.headers


@pytest.mark.parametrize(
    ("policy", "statuses"),
    [
        ("", [403, 403, 403, 403]),
        ('plugin { policy = "list" }', [200, 403, 403, 403]),
        ('node { policy = "write" }', [403, 403, 200, 200]),
        (f'{READER}agent {{ policy = "read" }}', [200, 200, 200, 200]),
    ],
)
def test_a_policy_that_was_changed(
    api: Api, harness: Harness, agent: FakeAgent, park: Park, policy: str, statuses: list[int]
) -> None:
    parked = [park(waiting(agent, path)) for path in PATHS]
    harness.write(policy)
    harness.reload(api)
    assert api.services.catalogue.parked == len(PATHS)
    agent.report({"ebs0": {"node": down()}})
    answers = [each.result(PATIENCE) for each in parked]
    assert [answer.status for answer in answers] == statuses
    for answer in answers:
        assert answer.status == 200 or answer.text.startswith("Permission denied: it needs ")


def test_an_agent_whose_rights_changed_is_asked_for_its_report(
    api: Api, harness: Harness, agent: FakeAgent
) -> None:
    """Ask the agent for its report at the first heartbeat after its rights changed."""
    rights = 'namespace "default" {{ capabilities = ["exec-register-plugin", {}] }}'
    agent.token = harness.reader

    def change(policy: str) -> None:
        harness.write(policy)
        harness.reload(api)

    change(rights.format('"csi-register-plugin"'))
    agent.report({"ebs0": {"node": up()}})
    assert agent.beat().status == 200
    for policy in (rights.format(""), rights.format('"csi-register-plugin"')):
        change(policy)
        assert agent.beat().status == 409
        body = {"Name": "vm1", "Plugins": {"csi": {"ebs0": {"node": up()}}, "exec": {}}}
        answer = api.call("PUT", f"/v1/node/{NODE_ID}", body, agent.headers)
        assert agent.beat(answer.json["Digest"]).status == 200
        headers = {"X-Nomad-Token": harness.manager}
        healthy = api.call("GET", "/v1/plugin/csi/ebs0", headers=headers).json["NodesHealthy"]
        assert healthy == ("csi-" in policy)


def test_a_token_that_expired(api: Api, harness: Harness, agent: FakeAgent, park: Park) -> None:
    expires = time.time_ns() + int(SOON * 1e9)
    harness.write(READER, expires=expires)
    harness.reload(api)
    woken = [park(waiting(agent, path)) for path in PATHS[:2]]
    timed_out = park(waiting(agent, "/v1/plugin/csi/none", f"{SOON}s"))
    eventually(lambda: time.time_ns() > expires)
    agent.report({"ebs0": {"node": down()}})
    for each in [*woken, timed_out]:
        answer = each.result(PATIENCE)
        assert (answer.status, answer.text) == (403, "ACL token not found")
