"""Lists and bodies of a plugin type whose code raises, hangs or returns nonsense."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from plugind.catalogue import Catalogue, Reading
from plugind.catalogue.typed import ROW_MAXIMUM
from plugind.model import Fingerprint, Instance, InstanceKey, Node, PluginKey, Stamp
from plugind.schemas.plugins import PluginSchemas
from plugind.state import State
from plugind.store.base import Contents
from plugind.types import guard as guarding
from tests.catalogue.scripted_type import NONSENSE, Act, Hang, Lamp, raises
from tests.promises import eventually, promised

pytestmark = pytest.mark.alone  # they hold plugind to milliseconds

NODES = [Node(f"11111111-2222-4333-8444-55555555555{number}", f"vm{number}") for number in range(4)]
IDS = [f"lamp{number:03}" for number in range(100)]
ODD = "lamp050"


class StillFeed:
    """A feed that changes only when a test changes it."""

    def __init__(self) -> None:
        self.state = State.of(Contents(2, NODES, [], [], {}))
        self.subscribers: list[Catalogue] = []
        self._index = 2
        self.set(IDS)

    def subscribe(self, subscriber: Catalogue) -> None:
        self.subscribers.append(subscriber)

    def set(self, ids: list[str], *, healthy: int = len(NODES)) -> None:
        """Set the plugins, and the number of nodes on which each is healthy."""
        self._index += 1
        instances = [
            Instance(
                InstanceKey(node.id, "lamp", id_, "node"),
                Fingerprint(number < healthy, "", 5, details={"Serial": id_}),
            )
            for id_ in ids
            for number, node in enumerate(NODES)
        ]
        resources = [PluginKey("lamp", id_).resource for id_ in ids]
        stamp = Stamp(3, self._index, 3, self._index)
        stamps = dict.fromkeys(["plugins/lamp", "nodes", *resources], stamp)
        old = self.state
        self.state = State.of(Contents(self._index, NODES, instances, [], stamps))
        for each in self.subscribers:
            each.missed(old, self.state)


class Lamps:
    """A catalogue of lamps."""

    def __init__(self, *, as_document: bool = False) -> None:
        self.type = Lamp()
        self.feed = StillFeed()
        schemas = {"lamp": PluginSchemas.of(self.type)}
        packages = {"lamp": "t-lamps 1.0"}
        self.catalogue = Catalogue(
            self.feed,  # type: ignore[arg-type]
            schemas,
            packages=packages,
            as_document=as_document,
        )
        self.guard = self.catalogue.typed["lamp"].guard

    def list(self) -> tuple[Reading, dict[str, Any]]:
        """Read the list; return the reading and the rows by ID, which must be complete and in
        order."""
        reading = self.catalogue.plugins("lamp")
        assert reading.body is not None
        rows = orjson.loads(reading.body)
        assert [row["ID"] for row in rows] == IDS
        return reading, {row["ID"]: row for row in rows}

    def body(self, id_: str) -> tuple[Reading, Any]:
        reading = self.catalogue.plugin(PluginKey("lamp", id_))
        assert reading.body is not None
        return reading, orjson.loads(reading.body)


@pytest.fixture(params=[False, True], ids=["server", "document"])
def lamps(request: pytest.FixtureRequest) -> Iterator[Lamps]:
    made = Lamps(as_document=request.param)
    yield made
    made.catalogue.end()


def counts(row: dict[str, Any]) -> tuple[int, int, int]:
    return row["NodesHealthy"], row["NodesExpected"], row["ModifyIndex"]


def test_a_sound_type(lamps: Lamps) -> None:
    reading, rows = lamps.list()
    assert not reading.is_degraded
    assert rows[ODD] == {
        "ID": ODD,
        "Serial": ODD,
        "Bulbs": [1, 2],
        "NodesHealthy": 4,
        "NodesExpected": 4,
        "CreateIndex": 3,
        "ModifyIndex": 3,
    }
    assert lamps.catalogue.plugins("lamp").found is reading.found, "it is made once"
    assert not lamps.body(ODD)[0].is_degraded
    assert lamps.guard.trouble == ""


@pytest.mark.parametrize("act", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_for_one_plugin(lamps: Lamps, act: Act) -> None:
    lamps.type.script[ODD] = act
    with capture_logs() as log:
        with promised(0.1):
            reading, rows = lamps.list()
        assert reading.is_degraded
        assert counts(rows[ODD]) == (4, 4, 3)
        assert "Serial" not in rows[ODD], "it never gave one"
        assert rows["lamp051"]["Serial"] == "lamp051"
        assert lamps.catalogue.plugins("lamp").found is reading.found, "it is not made again yet"
        assert "t-lamps 1.0 fails for 1 plugin (" in lamps.guard.trouble
        assert "secret" not in lamps.guard.trouble
        reading, body = lamps.body(ODD)
    assert reading.is_degraded
    body = body[0] if isinstance(body, list) else body
    assert body["NodesHealthy"] == 4
    assert all("Traceback" in each["exception"] for each in log)


def test_a_row_that_is_too_large_does_not_make_the_list_too_large(lamps: Lamps) -> None:
    lamps.type.script[ODD] = lambda: {"Serial": "x" * (ROW_MAXIMUM + 1)}
    with capture_logs():
        reading, rows = lamps.list()
    assert reading.is_degraded
    assert len(reading.body or b"") < ROW_MAXIMUM
    assert counts(rows[ODD]) == (4, 4, 3)


def test_the_last_good_summary_is_shown_with_current_counts(lamps: Lamps) -> None:
    lamps.list()
    lamps.body(ODD)
    lamps.type.script[ODD] = raises
    lamps.feed.set(IDS, healthy=1)
    with capture_logs():
        reading, rows = lamps.list()
        assert reading.is_degraded
        assert rows[ODD]["Serial"] == ODD
        assert counts(rows[ODD]) == (1, 4, 4)
        reading, body = lamps.body(ODD)
    assert reading.is_degraded
    body = body[0] if isinstance(body, list) else body
    assert (body["Serial"], body["NodesHealthy"], len(body["Nodes"])) == (ODD, 1, 4)


def test_a_body_shows_what_the_row_last_had(lamps: Lamps) -> None:
    lamps.list()
    lamps.type.script[ODD] = raises
    with capture_logs():
        _, body = lamps.body(ODD)
    assert (body[0] if isinstance(body, list) else body)["Bulbs"] == [1, 2]


def test_a_summary_that_hangs_comes_late(lamps: Lamps) -> None:
    hang = Hang()
    lamps.type.script[ODD] = hang
    with capture_logs():
        with promised(0.1):
            reading, rows = lamps.list()
        assert reading.is_degraded
        assert rows["lamp049"]["Serial"] == "lamp049"
        assert counts(rows["lamp099"]) == (4, 4, 3)
        assert lamps.catalogue.plugins("lamp").found is reading.found
        with promised(0.1):
            assert lamps.body("lamp003")[0].is_degraded, "the type is not called"
        assert " hangs since 2" in lamps.guard.trouble
        hang.let_go()
        eventually(lambda: not lamps.guard.trouble)
    reading, rows = lamps.list()
    assert not reading.is_degraded
    assert rows[ODD]["Serial"] == "late"
    assert hang.count == 1
    assert not lamps.body("lamp003")[0].is_degraded


def test_a_failed_summary_is_tried_again_after_a_while(
    lamps: Lamps, monkeypatch: pytest.MonkeyPatch
) -> None:
    lamps.type.script[ODD] = raises
    with capture_logs():
        lamps.list()
    lamps.type.script.clear()
    assert lamps.list()[0].is_degraded
    monkeypatch.setattr(guarding, "RETRY", 0.0)
    reading, rows = lamps.list()
    assert not reading.is_degraded
    assert rows[ODD]["Serial"] == ODD
    assert lamps.guard.trouble == ""


def test_a_plugin_that_is_gone_is_no_trouble(lamps: Lamps) -> None:
    lamps.type.script[ODD] = raises
    with capture_logs():
        lamps.list()
    lamps.feed.set([each for each in IDS if each != ODD])
    assert lamps.guard.trouble == ""


def test_documents_that_fail() -> None:
    lamps = Lamps(as_document=True)
    lamps.type.rows[ODD] = lambda: {"ID": "another", "NodesHealthy": 77}
    lamps.type.bodies[ODD] = raises
    reading, rows = lamps.list()
    assert not reading.is_degraded
    assert rows[ODD] == {"ID": ODD, "NodesHealthy": 4}, "no type gets the core's fields wrong"
    with capture_logs():
        reading, body = lamps.body(ODD)
    assert reading.is_degraded
    assert (body[0]["Serial"], body[0]["NodesHealthy"]) == (ODD, 4)
    lamps.type.bodies.clear()
    assert lamps.body("lamp003")[1] == [{"Lamp": "lamp003", "NodesHealthy": 4}]
    lamps.guard.close()
    lamps.catalogue.close()
