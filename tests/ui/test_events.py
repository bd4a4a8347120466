"""The stream that notifies open pages of changes: which pages, when, and how it ends."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from plugind.model import Session
from plugind.testing.serving import load
from plugind.ui.session import COOKIE, digest_of, key_of
from tests.api.gate import MANAGEMENT, NODE, Gate, gate
from tests.promises import PATIENCE
from tests.support import FakeAgent, Live, down, eventually, serving, up

SESSION = "a-secret-that-a-browser-has".ljust(43, "-")


@contextmanager
def stream(api: Live, headers: dict[str, str] | None = None) -> Iterator[Iterator[str]]:
    """Yield the names of the events of a stream."""
    with requests.get(
        f"{api.address}/ui/events", headers=headers, stream=True, timeout=PATIENCE
    ) as answer:
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == "text/event-stream"
        lines = answer.iter_lines(decode_unicode=True, chunk_size=1)
        yield (line.partition(": ")[2] for line in lines if line.startswith("event:"))


@pytest.fixture
def made(tmp_path: Path) -> Gate:
    return gate(tmp_path, "csi-list", "exec-list", "node-read")


@pytest.fixture
def api(tmp_path: Path, made: Gate) -> Iterator[Live]:
    with serving(tmp_path, live=True, config=made.config) as served:
        assert isinstance(served, Live)
        yield served


@pytest.fixture
def agent(api: Live, made: Gate) -> FakeAgent:
    return FakeAgent(api, NODE.rpartition("/")[2], token=made.secrets[MANAGEMENT])


@pytest.mark.parametrize(
    ("name", "is_reported"), [("csi-list", True), ("node-read", True), ("exec-list", False)]
)
def test_only_changes_that_may_be_seen_are_reported(
    api: Live, made: Gate, agent: FakeAgent, tmp_path: Path, name: str, is_reported: bool
) -> None:
    agent.report({"ebs0": {"node": up()}})
    with stream(api, made.headers(name)) as events, stream(api, made.headers(MANAGEMENT)) as all_:
        assert next(events) == next(all_) == "alive"
        agent.report({"ebs0": {"node": down()}})
        assert next(all_) == "change"
        api.services.reload(load(tmp_path, made.config, {"server_enabled": "true"})[0])
        assert next(events) == ("change" if is_reported else "alive")


def test_a_token_that_is_revoked_ends_its_stream(
    api: Live, made: Gate, agent: FakeAgent, tmp_path: Path
) -> None:
    with stream(api, made.headers("csi-list")) as events:
        assert next(events) == "alive"
        _revoke(api, made, "csi-list", tmp_path)
        assert list(events) == []


def test_a_session_that_ends_ends_its_stream(api: Live, made: Gate, tmp_path: Path) -> None:
    now = time.time_ns()
    accessor = made.accessors["csi-list"]
    token = digest_of(api.services.acl.held_by(accessor, now))
    api.services.intake.sign_in(Session(key_of(SESSION), accessor, token, now, now + 10**13))
    with stream(api, {"Cookie": f"{COOKIE}={SESSION}"}) as events:
        assert next(events) == "alive"
        _revoke(api, made, "csi-list", tmp_path)
        assert list(events) == [], "its page is asked for again, signed out"


def _revoke(api: Live, made: Gate, name: str, folder: Path) -> None:
    tokens = folder / "tokens.hcl"
    blocks = re.split(r"(?=^token )", tokens.read_text(), flags=re.MULTILINE)
    tokens.write_text("".join(each for each in blocks if made.accessors[name] not in each))
    api.services.reload(load(folder, made.config, {"server_enabled": "true"})[0])


def test_who_may_see_nothing_takes_no_place(api: Live) -> None:
    answer = api.call("GET", "/ui/events")
    assert answer.status == 403
    assert api.services.streams.count == 0


def test_an_address_of_the_same_network_gets_no_places_more(tmp_path: Path) -> None:
    config = 'server { trusted_proxies = ["127.0.0.1"] }\n'
    with serving(tmp_path, live=True, config=config) as api, ExitStack() as until_end:
        assert isinstance(api, Live)
        for path in ("/ui/events", "/v1/event/stream"):
            for client in ("2001:db8::1", "2001:db8::2", "::ffff:192.0.2.1"):
                url, headers = f"{api.address}{path}", {"X-Forwarded-For": client}
                got = requests.get(url, headers=headers, stream=True, timeout=PATIENCE)
                until_end.enter_context(got)
        held = {name: len(each) for name, each in api.services.streams._held.items()}
        assert held == {"2001:db8::/64": 4, "192.0.2.1": 2}


def test_a_client_that_leaves_frees_its_place(api: Live, made: Gate) -> None:
    with stream(api, made.headers("csi-list")) as events:
        next(events)
        assert api.services.events.streams == 1
    eventually(lambda: api.services.events.streams == 0)
    assert not api.services.page_changes._followers
