"""The flow of requests on an asynchronous server: one thread parks as many as have places."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import orjson
import pytest

from plugind.api import TABLE
from plugind.api.exchange import Exchange
from plugind.api.flow import Flow
from plugind.api.matching import Paths
from plugind.api.reply import Reply, rendered
from plugind.api.request import Pause, Request, Steps
from plugind.errors import ClientGone, TooManyParked
from plugind.serve.application import flow_of
from tests.support import FakeAgent, down, eventually, follows, serving, up

T = TypeVar("T")
PATHS = Paths(TABLE)


class Signal:
    """A signal of an event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.event = asyncio.Event()

    def set(self) -> None:
        self._loop.call_soon_threadsafe(self.event.set)


class Client:
    """A connection; ``leave`` ends it."""

    def __init__(self) -> None:
        self._call: Callable[[], None] | None = None
        self.has_left = False

    def verified_node(self) -> None: ...

    def on_close(self, call: Callable[[], None] | None) -> None:
        self._call = call

    def leave(self) -> None:
        self.has_left = True
        if self._call is not None:
            self._call()


async def run(steps: Steps[T], client: Client) -> T:
    try:
        pause = next(steps)
        while True:
            await sleep(pause, client)
            gone = pause.ends_with_client and client.has_left
            pause = steps.throw(ClientGone("")) if gone else next(steps)
    except StopIteration as end:
        result: T = end.value
        return result


async def sleep(pause: Pause, client: Client) -> None:
    assert isinstance(pause.signal, Signal)
    client.on_close(pause.signal.set if pause.ends_with_client else None)
    try:
        await asyncio.wait_for(pause.signal.event.wait(), pause.timeout)
    except TimeoutError:
        pass
    finally:
        client.on_close(None)


async def ask(flow: Flow, path: str, client: Client, **query: str) -> Reply:
    exchange = flow.exchange(Request("GET", path, query, {}, "127.0.0.1", "127.0.0.1"))
    endpoint, parts = PATHS.match("GET", path)
    try:
        return await run(steps_of(flow, exchange, endpoint, parts), client)
    except (ClientGone, TooManyParked) as error:
        return flow.failed(exchange, error)
    finally:
        exchange.turn.end()


def steps_of(flow: Flow, exchange: Exchange, endpoint: object, parts: object) -> Steps[Reply]:
    yield from flow.begin(exchange)
    return (yield from flow.answer(exchange, endpoint, parts))  # type: ignore[arg-type]


@pytest.mark.parametrize("places", [50])
def test_one_thread_parks_many_and_a_change_wakes_them(tmp_path: Path, places: int) -> None:
    with serving(tmp_path, live=False, server_max_parked=str(places)) as api:
        agent = FakeAgent(api)
        index = agent.report({"ebs0": {"node": up()}}).json["Index"]
        catalogue, threads = api.services.catalogue, threading.active_count()

        async def watch() -> list[Reply]:
            flow = flow_of(api.services, "127.0.0.1:4646", Signal, {}, {})
            clients = [Client() for _ in range(places)]
            path, query = "/v1/plugin/csi/ebs0", {"index": str(index), "wait": "60s"}
            asked = [asyncio.create_task(ask(flow, path, each, **query)) for each in clients]
            while catalogue.parked < places:
                await asyncio.sleep(0.001)
            assert threading.active_count() == threads
            refused = await ask(flow, path, Client(), **query)
            assert refused.status == 429
            clients[0].leave()
            assert (await asked[0]).status == 499
            assert catalogue.parked == places - 1
            report = asyncio.to_thread(agent.report, {"ebs0": {"node": down()}})
            answer = await report
            assert answer.status == 200
            return await asyncio.wait_for(asyncio.gather(*asked[1:]), 20)

        replies = asyncio.run(watch())
        assert len(replies) == places - 1
        assert {each.index for each in replies} == {agent.index}
        assert follows(api, agent.index, index)
        request = Request("GET", "/v1/plugin/csi/ebs0", {}, {})
        (body,) = {rendered(each, request).body for each in replies}
        assert isinstance(body, bytes)
        assert orjson.loads(body)["ID"] == "ebs0"
        assert eventually(lambda: catalogue.parked == 0)
