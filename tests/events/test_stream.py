"""The event stream: what it sends, in which order, and to whom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest

from plugind.model import HistoryQuery
from plugind.serve.front import KINDS
from plugind.store.base import Retention
from tests.api.conftest import FEW_THREADS
from tests.events.client import Stream, stream
from tests.promises import promised
from tests.support import FakeAgent, Live, down, eventually, serving, up

Event = dict[str, Any]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Live]:
    with serving(tmp_path, live=True, **FEW_THREADS) as served:
        assert isinstance(served, Live)
        yield served


@pytest.fixture
def agent(api: Live) -> FakeAgent:
    return FakeAgent(api)


def report(agent: FakeAgent, fingerprint: Any, id: str = "ebs0", **more: Any) -> int:
    """Report one plugin; return the index of the change."""
    answer = agent.report({id: {"node": fingerprint}} if fingerprint else {}, **more)
    assert answer.status == 200, answer.text
    index: int = answer.json["Index"]
    return index


def transitions(api: Live) -> list[dict[str, Any]]:
    """Return all transitions of plugins, oldest first, as clients see them."""
    stored = api.services.store.history(HistoryQuery(after=0, limit=1_000))
    ids = {each.transition.id for each in stored} - {""}
    rows = [row for id in ids for row in api.call("GET", f"/v1/plugin/csi/{id}/history").json]
    return sorted(rows, key=lambda row: int(row["Seq"]))


def of(events: list[Event], topic: str) -> list[Event]:
    return [each for each in events if each["Topic"] == topic]


def payloads(found: Stream, number: int) -> list[Any]:
    """Return the payloads of the next events of topic Plugin."""
    wanted = (each for each in found.events() if each["Topic"] == "Plugin")
    return [each["Payload"] for each in islice(wanted, number)]


@pytest.mark.alone
def test_each_change_comes_within_a_second(api: Live, agent: FakeAgent) -> None:
    report(agent, up())
    with stream(api) as found:
        assert found.raw() == b"{}\n"
        assert found.line()["Events"][0]["Type"] == "appeared"
        for fingerprint, kind in ((down("burns"), "unhealthy"), (up(), "healthy")):
            with promised(1.0):
                index = report(agent, fingerprint)
                line = found.line()
            assert line["Index"] == index
            transition, plugin = line["Events"]
            assert (transition["Topic"], transition["Type"]) == ("Plugin", kind)
            assert transition["Payload"] == transitions(api)[-1]
            assert (transition["Key"], transition["Namespace"]) == ("csi/ebs0", "")
            assert transition["FilterKeys"] == ["ebs0", agent.node_id]
            assert (plugin["Topic"], plugin["Type"]) == ("CSIPlugin", "NodeRegistration")
            assert (plugin["Key"], plugin["FilterKeys"]) == ("ebs0", ["ebs0"])
            body = api.call("GET", "/v1/plugin/csi/ebs0").json
            assert plugin["Payload"] == {"Plugin": {**body, "Allocations": []}}


def test_it_is_neither_packed_nor_buffered_nor_kept(api: Live) -> None:
    with stream(api, headers={"Accept-Encoding": "gzip"}) as found:
        headers = found.answer.headers
        assert headers["Content-Type"] == "application/json"
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Encoding"] is None
        assert found.raw() == b"{}\n"


def test_a_head_has_no_place(api: Live) -> None:
    for _ in range(60):
        assert api.call("HEAD", "/v1/event/stream").status == 200
    assert api.services.events.streams == 0


def test_a_node_has_events_of_its_own_fields_and_none_for_heartbeats(
    api: Live, agent: FakeAgent
) -> None:
    report(agent, up())
    with stream(api, "?topic=Node") as found:
        assert found.line()["Events"][0]["Type"] == "NodeRegistration"
        assert agent.beat().status == 200
        report(agent, down())
        index = report(agent, down(), Datacenter="dc2")
        line = found.line()
        assert line["Index"] == index
        (event,) = line["Events"]
        assert (event["Type"], event["Key"]) == ("NodeRegistration", agent.node_id)
        assert event["Payload"] == {"Node": api.call("GET", f"/v1/node/{agent.node_id}").json}
        assert api.call("DELETE", f"/v1/node/{agent.node_id}").status == 200
        (event,) = found.line()["Events"]
        assert (event["Type"], event["Key"]) == ("NodeDeregistration", agent.node_id)
        assert event["Payload"]["Node"]["Name"] == "vm1", "as it last was"


def test_a_node_down_and_up(tmp_path: Path) -> None:
    config = 'server { heartbeat_ttl = "3s" }'
    with serving(tmp_path, live=True, config=config, **FEW_THREADS) as api:
        assert isinstance(api, Live)
        agent = FakeAgent(api)
        report(agent, up())
        with stream(api, "?index=1") as found:
            found.line()
            for kind in ("unhealthy", "healthy"):
                line = found.line()  # the node is not heard, and then it is
                types = {each["Topic"]: each["Type"] for each in line["Events"]}
                assert types == {
                    "Plugin": kind,
                    "CSIPlugin": "NodeStreamEvent",
                    "Node": "NodeStreamEvent",
                }
                agent.beat()


def test_what_is_gone_is_shown_as_it_last_was(api: Live, agent: FakeAgent) -> None:
    report(agent, up(Provider="p"))
    last = api.call("GET", "/v1/plugin/csi/ebs0").json
    with stream(api) as found:
        found.line()
        assert api.call("DELETE", f"/v1/node/{agent.node_id}").status == 200
        line = found.line()
        left, gone = of(line["Events"], "Plugin"), of(line["Events"], "CSIPlugin")
        assert [each["Type"] for each in left] == ["left"]
        (event,) = gone
        assert event["Type"] == "NodeDeregistration"
        assert event["Payload"] == {"Plugin": {**last, "Allocations": []}}
    with stream(api, "?index=1&topic=CSIPlugin") as found:
        (event,) = found.line()["Events"]
        assert event["Type"] == "NodeDeregistration"
        plugin = event["Payload"]["Plugin"]
        assert (plugin["ID"], plugin["Nodes"], plugin["NodesExpected"]) == ("ebs0", {}, 0)


@pytest.mark.parametrize(
    ("topics", "selected"),
    [
        ("", {"Plugin ebs0", "CSIPlugin ebs0", "Plugin efs", "CSIPlugin efs", "Node"}),
        ("topic=*", {"Plugin ebs0", "CSIPlugin ebs0", "Plugin efs", "CSIPlugin efs", "Node"}),
        ("topic=*:ebs0", {"Plugin ebs0", "CSIPlugin ebs0"}),
        ("topic=CSIPlugin", {"CSIPlugin ebs0", "CSIPlugin efs"}),
        ("topic=CSIPlugin:*", {"CSIPlugin ebs0", "CSIPlugin efs"}),
        ("topic=CSIPlugin:efs&topic=Node", {"CSIPlugin efs", "Node"}),
        ("topic=Plugin:csi/ebs0&topic=CSIPlugin:efs", {"Plugin ebs0", "CSIPlugin efs"}),
        ("topic=Plugin:efs", {"Plugin efs"}),
        ("topic=Plugin%3Aefs", {"Plugin efs"}),
        ("topic=Job&topic=Node:other&topic=Plugin:efs", {"Plugin efs"}),
    ],
)
def test_topics_select(api: Live, agent: FakeAgent, topics: str, selected: set[str]) -> None:
    agent.report({"ebs0": {"node": up()}, "efs": {"node": up()}})
    with stream(api, f"?index=1&{topics}") as found:
        events = found.line()["Events"]
    names = {each["Topic"]: each for each in events}
    assert {
        each["Topic"] if each["Topic"] == "Node" else f"{each['Topic']} {each['FilterKeys'][0]}"
        for each in events
    } == selected, names


@pytest.mark.parametrize(
    "query",
    [
        *("topic=", "topic=:x", "topic=a:b:c", "topic=a:", "index=-1"),
        "&".join(f"topic=CSIPlugin:p{number}" for number in range(101)),
        "index=" + "9" * 5_000,
    ],
    ids=lambda query: query[:12],
)
def test_what_cannot_be_understood(api: Live, query: str) -> None:
    answer = api.call("GET", f"/v1/event/stream?{query}")
    assert answer.status == 400
    assert answer.text.startswith(("Invalid ", "there are 101 topics"))


def test_an_unknown_topic_matches_nothing(api: Live, agent: FakeAgent) -> None:
    with stream(api, "?topic=Job&topic=Allocation:*") as found:
        assert found.raw() == b"{}\n"
        report(agent, up())
        api.services.wake()
        assert "stops" in found.line()["Error"]


def test_a_stream_begins_at_an_index(api: Live, agent: FakeAgent) -> None:
    indexes = [report(agent, up() if number % 2 else down(str(number))) for number in range(6)]
    for first in (1, indexes[0], indexes[3], indexes[-1]):
        wanted = [row for row in transitions(api) if row["Index"] >= first]
        with stream(api, f"?index={first}&topic=Plugin") as found:
            assert payloads(found, len(wanted)) == wanted
    with stream(api, f"?index={indexes[-1] + 2}&topic=Plugin") as found:
        report(agent, up(Provider="a"))
        report(agent, down("later"))
        (row,) = payloads(found, 1)
        assert row == transitions(api)[-1]


def test_states_are_replayed_once_at_their_last_change(api: Live, agent: FakeAgent) -> None:
    for number in range(6):
        last = report(agent, up() if number % 2 else down(str(number)))
    with stream(api, "?index=1&topic=CSIPlugin") as found:
        line = found.line()
        assert line["Index"] == last
        body = api.call("GET", "/v1/plugin/csi/ebs0").json
        assert [each["Payload"]["Plugin"] for each in line["Events"]] == [
            {**body, "Allocations": []}
        ]
        later = report(agent, down("later"))
        assert found.line()["Index"] == later


def test_without_an_index_it_begins_a_few_changes_back(tmp_path: Path) -> None:
    config = "events { replay = 3 }"
    with serving(tmp_path, live=True, config=config, **FEW_THREADS) as api:
        assert isinstance(api, Live)
        agent = FakeAgent(api)
        for number in range(8):
            report(agent, up() if number % 2 else down(str(number)))
        wanted = transitions(api)[-3:]
        for query in ("?topic=Plugin", "?topic=Plugin&index=0", "?topic=Plugin&index="):
            with stream(api, query) as found:
                assert payloads(found, 3) == wanted


def test_what_is_not_kept_any_more_is_a_gap(api: Live, agent: FakeAgent) -> None:
    store = api.services.store
    with stream(api, "?index=1&topic=Plugin") as found:
        first = report(agent, up())
        assert payloads(found, 1)[0]["Index"] == first
    store.retention = Retention(maximum=5)
    for number in range(20):
        report(agent, up() if number % 2 else down(str(number)))
    oldest = store.history(HistoryQuery(after=0, limit=1))[0]
    assert oldest.seq > 1
    with stream(api, f"?index={first}") as found:
        (gap,) = found.line()["Events"]
        assert (gap["Topic"], gap["Type"], gap["Key"]) == ("Plugin", "Gap", "")
        assert gap["Payload"] == {"From": first, "To": oldest.index - 1}
        assert found.line()["Index"] == oldest.index
    for form in ("application/json", "text/event-stream"):
        query = f"?index={first}&topic=Plugin:csi/ebs0"
        with stream(api, query, {"Accept": form}) as found:
            text = b"".join(found.raw() for _ in range(4))
            assert b'"Type":"Gap"' in text, "whatever the key"
    with stream(api, f"?index={first}&topic=CSIPlugin") as found:
        assert found.line()["Events"][0]["Topic"] == "CSIPlugin"
    with stream(api, f"?index={oldest.index + 1}") as found:
        assert found.line()["Events"][0]["Type"] != "Gap", "nothing is missing from there on"
    with stream(api) as found:
        assert found.line()["Events"][0]["Type"] != "Gap", "no index was asked for"


def test_server_sent_events_go_on_after_the_last_one(api: Live, agent: FakeAgent) -> None:
    for number in range(3):
        last = report(agent, up() if number % 2 else down("a\nb"))
    accepts = {"Accept": "text/event-stream"}
    with stream(api, "?index=1&topic=Plugin", accepts) as found:
        assert found.answer.headers["Content-Type"] == "text/event-stream"
        assert [found.raw(), found.raw()] == [b":\n", b"\n"]
        for row in transitions(api):
            assert found.raw() == b"id: %d\n" % row["Index"]
            field, _, data = found.raw().partition(b": ")
            assert field == b"data"
            assert json.loads(data)["Events"][0]["Payload"] == row
            assert found.raw() == b"\n"
    again = {**accepts, "Last-Event-ID": str(last - 1)}
    with stream(api, "?index=1&topic=Plugin", again) as found:
        assert [found.raw(), found.raw(), found.raw()] == [b":\n", b"\n", b"id: %d\n" % last]
    with stream(api, "?index=1", {**accepts, "Last-Event-ID": "x"}, 400):
        pass


def test_a_flapping_instance_has_one_event_for_its_row(api: Live, agent: FakeAgent) -> None:
    with stream(api, "?index=1&topic=Plugin") as found:
        for number in range(80):
            report(agent, up() if number % 2 else down(str(number)))
        marker = report(FakeAgent(api), up(), "other")
        live = [each["Payload"] for each in found.until(marker)]
    with stream(api, "?index=1&topic=Plugin") as found:
        replayed = [each["Payload"] for each in found.until(marker)]
    assert [row["Seq"] for row in live] == [row["Seq"] for row in transitions(api)]
    assert [row["Seq"] for row in replayed] == [row["Seq"] for row in live]
    assert [row["Event"] for row in live].count("flapping") == 1


@pytest.mark.parametrize("query", ["", "?index=1"])
@pytest.mark.parametrize("kind", KINDS)
def test_streams_share_their_places(tmp_path: Path, kind: str, query: str) -> None:
    with serving(tmp_path, live=True, http=kind, server_max_streams="3", **FEW_THREADS) as api:
        assert isinstance(api, Live)
        with ExitStack() as until_end:
            for _ in range(3):
                found = until_end.enter_context(stream(api, query))
                assert found.raw() == b"{}\n"
            refused = until_end.enter_context(stream(api, query, status=429))
            text = refused.answer.read().decode()
            assert text == "3 event streams are open already; try again later"
            assert refused.answer.headers["Retry-After"] == "1"
            assert api.services.events.streams == 3
            assert api.services.hits.counts == {"max_streams": 1}
            FakeAgent(api).report({"ebs0": {"node": up()}})
            assert found.line()["Events"], "those that are open go on"
        eventually(lambda: api.services.events.streams == 0)
        with stream(api, query) as found:
            assert found.raw() == b"{}\n"


def test_one_address_gives_way_to_another(tmp_path: Path) -> None:
    config = 'server { trusted_proxies = ["127.0.0.1"] }'
    one, other = ({"X-Forwarded-For": f"192.0.2.{number}"} for number in (1, 2))
    places = {"server_max_streams": "2"}
    with serving(tmp_path, live=True, config=config, **places, **FEW_THREADS) as api:
        assert isinstance(api, Live)
        with stream(api, headers=one) as first, stream(api, headers=one) as second:
            assert first.raw() == second.raw() == b"{}\n"
            with stream(api, headers=one, status=429):
                pass
            with stream(api, headers=other, status=429):
                pass
            assert "another client needs this one" in first.line()["Error"]
            eventually(lambda: api.services.events.streams == 1)
            with stream(api, headers=other) as found:
                assert found.raw() == b"{}\n"
                assert api.services.events.streams == 2


@pytest.mark.alone
def test_a_client_that_leaves_gives_its_place_back(api: Live, agent: FakeAgent) -> None:
    with stream(api) as found:
        assert found.raw() == b"{}\n"
        assert api.services.events.streams == 1
    with promised(3.0):
        eventually(lambda: api.services.events.streams == 0)


def test_a_stopping_server_says_so(api: Live) -> None:
    with stream(api) as found, stream(api, headers={"Accept": "text/event-stream"}) as other:
        assert found.raw() == b"{}\n"
        assert other.raw() == b":\n"
        api.services.wake()
        assert found.line() == {"Error": "the server stops: read on from the last index"}
        assert found.raw() == b""
        assert [other.raw() for _ in range(2)] == [b"\n", b"event: error\n"]


def test_indexes_only_grow(api: Live, agent: FakeAgent) -> None:
    agents = [FakeAgent(api, name=f"vm{number}") for number in range(3)]
    for number in range(10):
        for each in agents:
            last = report(each, up() if number % 2 else down(str(number)), id=each.name)
    with stream(api, "?index=1") as found:
        lines = []
        while not lines or lines[-1] < last:
            lines.append(found.line()["Index"])
    assert all(before < after for before, after in pairwise(lines))
