"""Blocking queries that are parked on kept answers: one makes what all get, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from plugind.acl.tokens import CLIENT, block, draw
from plugind.serve.application import create_app
from plugind.serve.asgi import Asgi
from plugind.serve.asgi_application import create_asgi
from plugind.serve.services import Services
from plugind.serve.watches import AT_ONCE, BREAK, BYTES_AT_ONCE, Wakes
from tests.promises import PATIENCE
from tests.support import FakeAgent, InProcess, load, up

LIST, MISSING = "/v1/plugins?type=csi", "/v1/plugin/csi/none?"
ADDRESS = "127.0.0.1:4646"


class Asked:
    """A request to the ASGI application, and what came of it."""

    def __init__(self, app: Asgi, target: str, **headers: str) -> None:
        path, _, query = target.partition("?")
        self._scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
        }
        self.leaves = asyncio.Event()
        self.status, self.body = 0, b""
        self.headers: dict[bytes, bytes] = {}
        self.task = asyncio.ensure_future(app(self._scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.body += message["body"]

    @property
    def index(self) -> int:
        return int(self.headers[b"x-nomad-index"])


class Stand:
    """An ASGI application over services, and an agent that reports to them."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.app = create_asgi(services, ADDRESS)
        self.made = 0
        keep = self.app._direct.keep

        def counted(*arguments: Any) -> Any:
            self.made += 1
            return keep(*arguments)

        self.app._direct.keep = counted  # type: ignore[method-assign]

    async def report(self, *plugins: str, agent: FakeAgent | None = None) -> FakeAgent:
        agent = agent or FakeAgent(InProcess(self.services, create_app(self.services, ADDRESS)))
        found = {each: {"node": up()} for each in plugins}
        answer = await asyncio.to_thread(agent.report, found)
        assert answer.status == 200, answer
        return agent

    async def parked(self, count: int) -> None:
        await until(lambda: self.services.catalogue.parked == count)


async def until(look: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not look():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def standing(folder: Path, config: str = "", **flags: str) -> AsyncIterator[Stand]:
    settings, registry = load(folder, config, {"server_enabled": "true", **flags})
    services = Services(settings, registry, folder)
    stand = Stand(services)
    stand.app.tasks.mailbox.attach(asyncio.get_running_loop())
    try:
        yield stand
    finally:
        services.wake()
        stand.app.tasks.close()
        services.close()


def test_one_makes_what_all_get(tmp_path: Path) -> None:
    async def main() -> None:
        async with standing(tmp_path, server_max_parked="300") as stand:
            agent = await stand.report("a")
            asked = [Asked(stand.app, f"{LIST}&index={agent.index}&wait=60s") for _ in range(200)]
            await stand.parked(200)
            assert stand.made == 1
            await stand.report("a", "b", agent=agent)
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*(each.task for each in asked))
            assert stand.made == 2
            assert {(each.status, each.index) for each in asked} == {(200, agent.index)}
            assert len({each.body for each in asked}) == 1
            assert b'"ID":"b"' in asked[0].body
            assert stand.services.catalogue.parked == 0

    asyncio.run(main())


def test_what_does_not_exist_is_waited_for_by_the_flow(tmp_path: Path) -> None:
    async def main() -> None:
        async with standing(tmp_path) as stand:
            agent = await stand.report("a")
            asked = [Asked(stand.app, f"{MISSING}index={agent.index}&wait=60s") for _ in range(3)]
            await stand.parked(3)
            await stand.report("none", agent=agent)
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*(each.task for each in asked))
            assert [each.status for each in asked] == [200] * 3

    asyncio.run(main())


def test_the_time_to_wait_ends_with_the_answer_of_then(tmp_path: Path) -> None:
    async def main() -> None:
        async with standing(tmp_path) as stand:
            agent = await stand.report("a")
            asked = Asked(stand.app, f"{LIST}&index={agent.index}&wait=10ms")
            await asked.task
            assert (asked.status, asked.index) == (200, agent.index)
            assert stand.services.catalogue.parked == 0

    asyncio.run(main())


def test_a_client_that_leaves_frees_its_place(tmp_path: Path) -> None:
    async def main() -> None:
        async with standing(tmp_path) as stand:
            agent = await stand.report("a")
            asked = Asked(stand.app, f"{LIST}&index={agent.index}&wait=60s")
            await stand.parked(1)
            asked.leaves.set()
            await stand.parked(0)
            async with asyncio.timeout(PATIENCE):
                await asked.task
            assert asked.body == b""

    asyncio.run(main())


def test_rights_that_end_while_it_waits_are_missed_at_the_end(tmp_path: Path) -> None:
    secret, token = draw("ops", CLIENT, ["lister"], None)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/lister.hcl").write_text('plugin { policy = "list" }\n')
    (tmp_path / "policies/anonymous.hcl").write_text('node { policy = "write" }\n')
    (tmp_path / "tokens.hcl").write_text(block(token))
    config = (
        f'acl {{\n  enabled = true\n  policies = "{tmp_path}/policies"\n'
        f'  tokens = "{tmp_path}/tokens.hcl"\n}}\n'
    )

    async def main() -> None:
        async with standing(tmp_path, config) as stand:
            index = stand.services.catalogue.index
            headers = {"x-nomad-token": secret}
            asked = Asked(stand.app, f"{LIST}&index={index}&wait=60s", **headers)
            await stand.parked(1)
            (tmp_path / "policies/lister.hcl").write_text('plugin { policy = "deny" }\n')
            settings, _ = load(tmp_path, config, {"server_enabled": "true"})
            await asyncio.to_thread(stand.services.reload, settings)
            stand.services.wake()
            async with asyncio.timeout(PATIENCE):
                await asked.task
            assert asked.status == 403

    asyncio.run(main())


def test_a_query_that_has_waited_asks_no_other_process_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wake it by what this process knows: in a storm the others' answer comes late."""

    async def main() -> None:
        async with standing(tmp_path) as stand:
            agent = await stand.report("a")
            asked = [Asked(stand.app, f"{LIST}&index={agent.index}&wait=60s") for _ in range(5)]
            await stand.parked(5)
            monkeypatch.setattr(stand.services.catalogue, "fresh_state", lambda: None)
            monkeypatch.setattr(stand.app._direct, "answer", Mock(side_effect=AssertionError))
            await stand.report("a", "b", agent=agent)
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*(each.task for each in asked))
            assert {(each.status, each.index) for each in asked} == {(200, agent.index)}
            turns = stand.app._direct.flow.turns
            assert turns._last_plain < 0 < turns._last_woken, "there was no plain read"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("has_plain", "size", "most"),
    [
        (False, 10 * BYTES_AT_ONCE, AT_ONCE),
        (True, 0, AT_ONCE),
        (True, BYTES_AT_ONCE // 2, 2),
        (True, 10 * BYTES_AT_ONCE, 1),
    ],
)
def test_few_are_woken_in_a_turn_of_the_loop_with_breaks_for_plain_reads(
    has_plain: bool, size: int, most: int
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        mailbox = Mock()
        wakes = Wakes(mailbox, lambda: has_plain)
        wakes.size = size
        futures = [loop.create_future() for _ in range(3 * most)]
        for each in futures:
            wakes.add(each)
        mailbox.post.assert_called_once_with(wakes._turn)
        calls = mailbox.loop.call_later if has_plain else mailbox.loop.call_soon
        for count in range(1, 4):
            wakes._turn()
            assert sum(each.done() for each in futures) == count * most
            assert len(calls.mock_calls) == len(mailbox.loop.mock_calls) == min(count, 2)
        assert calls.call_args.args == ((BREAK, wakes._turn) if has_plain else (wakes._turn,))

    asyncio.run(main())


def test_one_that_fails_to_make_the_answer_leaves_it_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with standing(tmp_path) as stand:
            agent = await stand.report("a")
            real, calls = stand.app.tasks.run, []

            async def run(*arguments: Any) -> Any:
                calls.append(1)
                if len(calls) == 1:
                    await asyncio.sleep(0.01)
                    raise asyncio.CancelledError
                return await real(*arguments)

            monkeypatch.setattr(stand.app.tasks, "run", run)
            asked = [Asked(stand.app, f"{LIST}&index=0") for _ in range(5)]
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*(each.task for each in asked))
            assert sorted(each.status for each in asked) == [200] * 4 + [503]
            assert len(calls) == 2
            assert {each.index for each in asked if each.status == 200} == {agent.index}

    asyncio.run(main())
