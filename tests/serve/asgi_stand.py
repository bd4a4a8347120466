"""Requests to the ASGI application in a test's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from plugind.serve.application import create_app
from plugind.serve.asgi import Asgi
from plugind.serve.asgi_application import create_asgi
from plugind.serve.services import Services
from tests.promises import PATIENCE
from tests.support import FakeAgent, InProcess, load, up

LIST = "/v1/plugins?type=csi"
ADDRESS = "127.0.0.1:4646"


class Asked:
    """A request to the ASGI application from an address, and its answer."""

    def __init__(self, app: Asgi, target: str, client: str = "127.0.0.1", **headers: str) -> None:
        path, _, query = target.partition("?")
        self._scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [
                (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
            ],
            "client": (client, 1),
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
