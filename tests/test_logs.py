"""Log lines that cannot be written are lost, and nothing else is affected."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO

import pytest

from plugind import logs
from plugind.client import Client
from plugind.errors import StoreError
from tests.processes import PLUGIND
from tests.promises import PATIENCE
from tests.support import FakeAgent, down, eventually, serving, up

NODE = "11111111-2222-4333-8444-55555555555{}"


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Send logs to a disk that is full."""
    with Path("/dev/full").open("wb", buffering=0) as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", TextIOWrapper(full, write_through=True))
        logs.configure()
        yield
    logs.configure()


def test_a_line_that_cannot_be_written_is_lost(nowhere: None) -> None:
    logs.get("test").error("nobody reads this")


class Calls(TextIOWrapper):
    """A standard error that records what each call wrote."""

    def __init__(self, sink: BinaryIO) -> None:
        super().__init__(sink, write_through=True)
        self.texts: list[str] = []

    def write(self, text: str) -> int:
        self.texts.append(text)
        return len(text)


def test_lines_together_are_written_by_few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/null").open("wb", buffering=0) as sink, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stderr := Calls(sink))
        logs.configure()
        log = logs.get("test")
        with logs.together():
            for number in range(30):
                log.info("a line", number=number, text="x" * 300)
            assert not stderr.texts
        log.info("after them")
    logs.configure()
    assert len(stderr.texts) <= 5, "without it they are 31"
    assert all(text.endswith("\n") and len(text) <= logs.AT_ONCE for text in stderr.texts)
    numbers = re.findall(r"number=(\d+)", "".join(stderr.texts))
    assert numbers == [str(number) for number in range(30)]
    assert "after them" in stderr.texts[-1]


def test_a_write_that_fails_is_answered_though_it_cannot_be_logged(
    nowhere: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(changes: object) -> None:
        raise StoreError("the disk is full")

    with serving(tmp_path, live=False) as api:
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})
        with monkeypatch.context() as patch:
            patch.setattr(api.services.store, "commit", full)
            assert agent.report({"ebs0": {"node": down()}}).status == 503
        assert agent.report({"ebs0": {"node": down()}}).json["Index"] == 3


def test_a_node_goes_down_though_the_log_has_no_reader(tmp_path: Path) -> None:
    """Mark a node as down even if the log's reader (``tee``, for example) has gone."""
    server = subprocess.Popen(
        [
            *(PLUGIND, "agent", "--server-enabled", "true", "--ports-http", "0"),
            *("--server-heartbeat-ttl", "1s", "--data-dir", tmp_path),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        found = eventually(lambda: re.search(r"address=(http://\S+)", server.stderr.readline()))
        server.stderr.close()
        client = Client(found[1])
        for number in (1, 2):  # the loss of the first one cannot be logged
            node = NODE.format(number)
            client.report(node, "s", {"Name": "vm", "Plugins": {}})
            eventually(lambda node=node: client.node(node).value["Status"] == "down")
        server.terminate()
        assert server.wait(PATIENCE) == 0
    finally:
        server.kill()
        server.wait(PATIENCE)
