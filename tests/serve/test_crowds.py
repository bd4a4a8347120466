"""Many reads from one address on an ASGI server, while another address also sends requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugind.acl.tokens import CLIENT, block, draw
from plugind.serve import askers
from plugind.serve.askers import AT_ONCE_MAXIMUM
from plugind.serve.loop_turns import LoopTurns
from tests.promises import PATIENCE
from tests.serve.asgi_stand import LIST, Asked, Stand, standing, until
from tests.support import load

GREEDY, HONEST = "127.0.0.2", "127.0.0.3"
MANY = 100


class Turns:
    """Turns of the loop that are granted only once ``come`` is set; ``waiting`` has the addresses
    of the requests that wait for a turn."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.come = asyncio.Event()

    async def enter(self, address: str) -> None:
        self.waiting.append(address)
        await self.come.wait()


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Turns]:
    """Return a function that replaces the loop's turns by those of the test."""

    def make() -> Turns:
        made = Turns()
        monkeypatch.setattr(LoopTurns, "enter", lambda self, address: made.enter(address))
        return made

    return make


@pytest.fixture(autouse=True)
def _on_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what happens within a test count as just now, however long it takes."""
    monkeypatch.setattr(askers, "AT_ONCE_SECONDS", PATIENCE)
    monkeypatch.setattr(askers, "_RECENT", PATIENCE)


async def read(stand: Stand, *clients: str, **headers: str) -> list[Asked]:
    asked = [Asked(stand.app, LIST, client, **headers) for client in clients]
    await done(asked)
    return asked


async def done(asked: list[Asked]) -> None:
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(each.task for each in asked))


def test_reads_beyond_a_few_wait_for_turns(tmp_path: Path, turns: Callable[[], Turns]) -> None:
    async def main() -> None:
        async with standing(tmp_path) as stand:
            await stand.report("a")
            await read(stand, GREEDY)
            loop = turns()
            await read(stand, *[GREEDY] * MANY)
            assert not loop.waiting, "nobody else asks"
            await read(stand, HONEST)
            crowd = [Asked(stand.app, LIST, GREEDY) for _ in range(MANY)]
            await until(lambda: len(loop.waiting) == MANY - AT_ONCE_MAXIMUM)
            assert set(loop.waiting) == {GREEDY}
            await read(stand, HONEST)
            loop.come.set()
            await done(crowd)
            assert {(each.status, each.body) for each in crowd} == {(200, crowd[0].body)}

    asyncio.run(main())


def test_clients_behind_a_trusted_proxy_are_distinguished_by_its_header(
    tmp_path: Path, turns: Callable[[], Turns]
) -> None:
    async def main() -> None:
        async with standing(tmp_path, server_trusted_proxies="127.0.0.9") as stand:
            await stand.report("a")
            await read(stand, HONEST)
            loop = turns()
            for number in range(MANY):
                await read(stand, "127.0.0.9", x_forwarded_for=f"192.0.2.{number}")
            assert not loop.waiting

    asyncio.run(main())


def test_rights_that_end_while_a_read_waits_for_its_turn_count(
    tmp_path: Path, turns: Callable[[], Turns]
) -> None:
    secret, token = draw("ops", CLIENT, ["lister"], None)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/lister.hcl").write_text('plugin { policy = "list" }\n')
    (tmp_path / "tokens.hcl").write_text(block(token))
    config = (
        f'acl {{\n  enabled = true\n  policies = "{tmp_path}/policies"\n'
        f'  tokens = "{tmp_path}/tokens.hcl"\n}}\n'
    )
    headers: dict[str, Any] = {"x_nomad_token": secret}

    async def main() -> None:
        async with standing(tmp_path, config) as stand:
            await read(stand, HONEST, GREEDY, **headers)
            loop = turns()
            crowd = [Asked(stand.app, LIST, GREEDY, **headers) for _ in range(MANY)]
            await until(lambda: loop.waiting)
            (tmp_path / "policies/lister.hcl").write_text('plugin { policy = "deny" }\n')
            settings, _ = load(tmp_path, config, {"server_enabled": "true"})
            await asyncio.to_thread(stand.services.reload, settings)
            loop.come.set()
            await done(crowd)
            refused = [each for each in crowd if each.status == 403]
            assert len(refused) == len(loop.waiting)

    asyncio.run(main())
