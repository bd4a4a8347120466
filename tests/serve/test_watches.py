"""Blocking queries that are parked on kept answers: one query computes the answer for all, a few
queries are answered at a time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from plugind.acl.tokens import CLIENT, block, draw
from plugind.serve.watches import AT_ONCE, BREAK, BYTES_AT_ONCE, Wakes
from tests.promises import PATIENCE
from tests.serve.asgi_stand import LIST, Asked, standing
from tests.support import load

MISSING = "/v1/plugin/csi/none?"


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
    """Wake it with what this process knows: in a storm, answers of other processes come late."""

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
