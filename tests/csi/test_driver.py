"""The end of a connection to a driver: calls end at once, and no gRPC thread fails."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock, call

import grpc
import pytest

from plugin_types.csi import driver
from plugin_types.csi.driver import PROBE, Driver
from tests.promises import PATIENCE
from tests.support import eventually


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    """Return the path of a socket that accepts connections and sends nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "csi.sock"))
        listener.listen()
        yield str(tmp_path / "csi.sock")


def test_a_call_ends_when_its_connection_is_closed(path: str) -> None:
    asked = Driver(path, Mock())
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(asked.ask([PROBE], PATIENCE)[PROBE].code))
    thread.start()
    eventually(lambda: asked._connection._pending)
    asked.close()
    thread.join(PATIENCE)
    assert found == [grpc.StatusCode.CANCELLED]
    assert asked.ask([PROBE], PATIENCE)[PROBE].code is grpc.StatusCode.CANCELLED


def test_a_channel_is_closed_once_nobody_watches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Close the channel after gRPC's thread, which would fail otherwise, has stopped watching."""
    channel, slept = Mock(), threading.Event()
    monkeypatch.setattr(grpc, "insecure_channel", lambda *arguments, **options: channel)

    def sleep(seconds: float) -> None:
        assert seconds > 0.2, "gRPC's thread looks as often"
        channel.slept()
        slept.set()

    monkeypatch.setattr(driver.time, "sleep", sleep)
    Driver("/driver.sock", Mock()).close()
    assert slept.wait(PATIENCE)
    eventually(lambda: channel.close.called)
    watch = channel.subscribe.call_args.args[0]
    assert channel.mock_calls[-3:] == [call.unsubscribe(watch), call.slept(), call.close()]
