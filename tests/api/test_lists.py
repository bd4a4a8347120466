"""The options of lists: which rows, in which order, in which encoding, and only if changed."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from plugind.api.forms import PACKED_MINIMUM
from tests.api.gate import acl_block
from tests.promises import PATIENCE
from tests.support import Answer, Api, FakeAgent, down, eventually, serving, up

BEGINNINGS = ("aa", "ab", "ba", "bb", "bc")


@dataclass(frozen=True)
class Listing:
    """Five rows of one kind, in the order of their IDs, which start with the BEGINNINGS.

    ``ill`` is an expression that is true for the second and the third; ``forget`` removes a row.
    """

    api: Api
    path: str
    ids: list[str]
    ill: str
    change: Callable[[], Any]
    forget: Callable[[str], Any]

    def get(
        self, headers: dict[str, str] | None = None, method: str = "GET", **query: object
    ) -> Answer:
        return self.api.call(method, self.url(**query), None, headers)

    def url(self, **query: object) -> str:
        joint = "&" if "?" in self.path else "?"
        return f"{self.path}{joint}{urlencode(query)}" if query else self.path

    def found(self, **query: object) -> list[str]:
        answer = self.get(**query)
        assert answer.status == 200, answer.text
        return [row["ID"] for row in answer.json]


def plugins(api: Api) -> Listing:
    agent = FakeAgent(api)
    drivers = {
        id_: {"node": down() if id_ in ("ab", "ba") else up(Provider=f"{id_}.example")}
        for id_ in BEGINNINGS
    }
    agent.report(drivers)

    def forget(id_: str) -> None:
        del drivers[id_]
        agent.report({**drivers, id_: {"node": None}})

    return Listing(
        *(api, "/v1/plugins?type=csi", list(BEGINNINGS), "NodesHealthy < NodesExpected"),
        change=lambda: agent.report({**drivers, "bc": {"node": down("on fire")}}),
        forget=forget,
    )


def nodes(api: Api) -> Listing:
    ids = [f"{each}000000-0000-4000-8000-000000000000" for each in BEGINNINGS]
    agents = [FakeAgent(api, id_, name=f"vm-{id_[:2]}") for id_ in ids]
    for agent in reversed(agents):
        agent.report({}, Datacenter="dc2" if agent.name in ("vm-ab", "vm-ba") else "dc1")
    return Listing(
        *(api, "/v1/nodes", ids, "Datacenter == dc2"),
        change=lambda: agents[4].report({}, Datacenter="dc3"),
        forget=lambda id_: api.call("DELETE", f"/v1/node/{id_}"),
    )


@pytest.fixture(params=[plugins, nodes], ids=["plugins", "nodes"])
def listing(request: pytest.FixtureRequest, api: Api) -> Listing:
    made: Listing = request.param(api)
    return made


def test_a_prefix(listing: Listing) -> None:
    ids = listing.ids
    assert listing.found() == ids
    assert listing.found(prefix="b") == ids[2:]
    assert listing.found(prefix="ab") == ids[1:2]
    assert listing.found(prefix=ids[3]) == ids[3:4]
    assert listing.found(prefix="") == ids
    assert listing.found(prefix="B") == listing.found(prefix="*") == []
    assert listing.get(prefix="none").body == b"[]"


def test_a_filter(listing: Listing) -> None:
    ids = listing.ids
    assert listing.found(filter=listing.ill) == ids[1:3]
    assert listing.found(filter=f"not ({listing.ill})") == [ids[0], *ids[3:]]
    assert listing.found(filter=f"{listing.ill} and ID matches `^b`") == ids[2:3]
    assert listing.found(filter="ID == none") == []
    assert listing.found(filter="") == ids


def test_a_filter_knows_every_field_of_its_rows(listing: Listing) -> None:
    row = listing.get().json[0]
    for name, value in row.items():
        if isinstance(value, str | int):
            text = json.dumps(value if isinstance(value, str) else str(value).lower())
            assert listing.ids[0] in listing.found(filter=f"{name} == {text}"), name


MISTAKES = {
    "ID == ": "filter:1:6: the filter ends too early; expected a value",
    "ID == x\nand Nothing == 1": "filter:2:5: no field Nothing; use one of: ",
    "ID == x and (": "filter:1:14: ",
    "ID matches `(`": "filter:1:12: ",
    "ModifyIndex == many": "filter:1:16: ",
    "x" * 5000: "the filter is longer than 4096 characters",
}


def test_a_mistake_in_a_filter_says_where(listing: Listing) -> None:
    for expression, expected in MISTAKES.items():
        for more in ({}, {"index": 10**6, "wait": "1m"}):
            answer = listing.get(filter=expression, **more)
            assert answer.status == 400
            assert answer.text.startswith(expected), answer.text
            assert "\n" not in answer.text
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            assert "etag" not in answer.headers


def test_pages(listing: Listing) -> None:
    for reverse in (False, True):
        ids = sorted(listing.ids, reverse=reverse)
        for size in (1, 2, 3, 5, 6, 2**64 - 1):
            assert paged(listing, per_page=size, reverse=reverse) == ids, (size, reverse)
        assert paged(listing, per_page=1, reverse=reverse, prefix="b") == [
            id_ for id_ in ids if id_[0] == "b"
        ]
        assert paged(listing, per_page=1, reverse=reverse, filter=listing.ill) == [
            id_ for id_ in ids if id_[:2] in ("ab", "ba")
        ]


def paged(listing: Listing, **query: object) -> list[str]:
    """Return the rows of all pages; every page but the last must be full."""
    found: list[str] = []
    token = ""
    while True:
        answer = listing.get(**query, **({"next_token": token} if token else {}))
        rows = [row["ID"] for row in answer.json]
        found += rows
        token = answer.headers.get("x-nomad-nexttoken", "")
        if not token:
            assert 0 < len(rows) <= int(str(query["per_page"]))
            return found
        assert len(rows) == query["per_page"]
        assert answer.index == listing.get().index


def test_a_page_begins_with_the_row_that_the_token_names(listing: Listing) -> None:
    first = listing.get(per_page=2)
    assert first.headers["x-nomad-nexttoken"] == listing.ids[2]
    assert "x-nomad-nexttoken" not in listing.get().headers
    assert "x-nomad-nexttoken" not in listing.get(per_page=0).headers
    assert "x-nomad-nexttoken" not in listing.get(per_page=5).headers
    assert listing.found(next_token="bb") == listing.ids[3:], "it need not be a whole ID"
    assert listing.found(next_token="zz") == []
    assert listing.found(next_token="zz", reverse="true") == listing.ids[::-1]


@pytest.mark.parametrize("reverse", ["false", "true"])
def test_a_token_whose_row_is_gone(listing: Listing, reverse: str) -> None:
    ids = sorted(listing.ids, reverse=reverse == "true")
    token = listing.get(per_page=2, reverse=reverse).headers["x-nomad-nexttoken"]
    assert token == ids[2]
    listing.forget(token)
    answer = listing.get(per_page=2, reverse=reverse, next_token=token)
    assert [row["ID"] for row in answer.json] == ids[3:]
    assert "x-nomad-nexttoken" not in answer.headers


def test_reverse(listing: Listing) -> None:
    for text in ("true", "1", ""):
        assert listing.found(reverse=text) == listing.ids[::-1]
    for text in ("false", "0"):
        assert listing.found(reverse=text) == listing.ids


def test_pretty(listing: Listing) -> None:
    plain = listing.get()
    assert plain.body == json.dumps(plain.json, separators=(",", ":")).encode()
    for text in ("", "1", "true"):
        pretty = listing.get(pretty=text)
        assert pretty.body == json.dumps(plain.json, indent=4).encode() + b"\n"
        assert pretty.headers["content-type"] == "application/json"
    assert listing.get(pretty="0").body == plain.body
    assert listing.get(pretty="", prefix="none").body == b"[]\n"


PACKED = ("gzip", "GZIP", "br, gzip;q=0.5", "br;q=1.0, gzip;q=0.8, *;q=0", "*", "*;q=0, gzip")
PLAIN = ("identity", "deflate, br", "gzip;q=0", "gzip;q=0, *", "*;q=0", "", None)


def test_packed_as_asked_for(listing: Listing) -> None:
    for accepted in (*PACKED, *PLAIN):
        headers = {} if accepted is None else {"Accept-Encoding": accepted}
        packed = accepted in PACKED
        for query in ({}, {"pretty": ""}, {"per_page": 1}):
            plain, answer = listing.get(**query), listing.get(headers, **query)
            assert answer.headers.get("content-encoding", "") == ("gzip" if packed else "")
            assert (gzip.decompress(answer.body) if packed else answer.body) == plain.body
            assert int(answer.headers["content-length"]) == len(answer.body)
            assert answer.headers["vary"] == "Accept-Encoding"
            assert (answer.headers["etag"] == plain.headers["etag"]) is not packed


def test_what_is_short_is_not_packed(listing: Listing) -> None:
    answer = listing.get({"Accept-Encoding": "gzip"}, prefix="none")
    assert (answer.body, "content-encoding" in answer.headers) == (b"[]", False)


def test_an_unchanged_list_is_not_sent_again(listing: Listing) -> None:
    for given in ({}, {"Accept-Encoding": "gzip"}):
        for query in ({}, {"prefix": "b"}, {"per_page": 2}, {"pretty": ""}):
            answer = listing.get(given, **query)
            tag = answer.headers["etag"]
            for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
                for method in ("GET", "HEAD"):
                    again = listing.get({**given, "If-None-Match": known}, method, **query)
                    assert (again.status, again.body) == (304, b""), (known, query)
                    assert again.headers["etag"] == tag
                    assert again.index == answer.index
                    for name in ("cache-control", "vary", "x-nomad-knownleader"):
                        assert again.headers[name] == answer.headers[name]
                    assert "content-type" not in again.headers
                    assert "content-encoding" not in again.headers
            for other in ('"x"', tag.strip('"')[:-1], "", f'"{tag[1:-1]}x"'):
                assert listing.get({**given, "If-None-Match": other}, **query).status == 200


def test_a_tag_is_of_the_index_the_encoding_and_the_query(listing: Listing) -> None:
    queries: list[dict[str, object]] = [
        *({}, {"prefix": "a"}, {"prefix": "b"}, {"filter": "ID == a"}, {"per_page": 1}),
        *({"per_page": 2}, {"reverse": "true"}, {"next_token": "b"}, {"pretty": ""}),
    ]
    plain, packed = (
        [listing.get(given, **query) for query in queries]
        for given in ({}, {"Accept-Encoding": "gzip"})
    )
    tags = [answer.headers["etag"] for answer in (*plain, *packed)]
    short = [answer for answer in plain if len(answer.body) < PACKED_MINIMUM]
    assert len(short) < len(queries) / 2
    assert len(set(tags)) == 2 * len(queries) - len(short)
    listing.change()
    assert listing.get().headers["etag"] not in tags
    changed = listing.get({"If-None-Match": ", ".join(tags)})
    assert changed.status == 200
    for same in ({"index": 1}, {"wait": "1s"}, {"stale": ""}, {"unknown": "x"}):
        assert listing.get(**same).headers["etag"] == changed.headers["etag"], same


@pytest.mark.parametrize("path", ["/v1/plugins?type=csi", "/v1/nodes"])
def test_a_tag_is_of_the_policies_and_tokens(tmp_path: Path, path: str) -> None:
    (tmp_path / "policies").mkdir()
    policy = tmp_path / "policies/anonymous.hcl"
    rules = 'plugin { policy = "read" }\nnode { policy = "read" }\n'
    policy.write_text(rules)
    (tmp_path / "tokens.hcl").write_text("")
    with serving(tmp_path, live=False, config=acl_block(tmp_path)) as api:
        first = api.call("GET", path)
        known = {"If-None-Match": first.headers["etag"]}
        api.services.reload(api.services.settings)
        assert api.call("GET", path, None, known).status == 304, "nothing changed"
        policy.write_text(f"# changed\n{rules}")
        api.services.reload(api.services.settings)
        second = api.call("GET", path, None, known)
        assert (second.status, second.body, second.index) == (200, first.body, first.index)
        policy.write_text("")
        api.services.reload(api.services.settings)
        assert api.call("GET", path, None, known).status == 403, "rights come first"


def test_head(listing: Listing) -> None:
    for given in ({}, {"Accept-Encoding": "gzip"}):
        for query in ({}, {"per_page": 2}, {"pretty": ""}, {"filter": "("}, {"index": "x"}):
            get, head = (listing.get(given, method, **query) for method in ("GET", "HEAD"))
            assert head.body == b""
            assert (head.status, _stable(head)) == (get.status, _stable(get)), query


def _stable(answer: Answer) -> dict[str, str]:
    times = ("date", "x-nomad-lastcontact")
    return {name: value for name, value in answer.headers.items() if name not in times}


def test_no_shared_cache_may_keep_an_answer(listing: Listing) -> None:
    assert listing.get().headers["cache-control"] == "private, no-cache"
    assert listing.get().headers["vary"] == "Accept-Encoding"
    assert listing.get(index="x").headers["cache-control"] == "private, no-cache"


def test_a_filter_chooses_from_what_a_wait_brought(listing: Listing) -> None:
    """Wake a query with a filter on a change of any row, as Nomad does, and filter the new rows."""
    before = listing.get(filter=listing.ill)
    answers: list[Answer] = []
    query = {"filter": f"ID == {json.dumps(listing.ids[4])}", "index": before.index, "wait": "1m"}
    asking = threading.Thread(target=lambda: answers.append(listing.get(**query)))
    asking.start()
    eventually(lambda: listing.api.services.catalogue.parked)
    listing.change()
    asking.join(PATIENCE)
    (answer,) = answers
    assert answer.index > before.index
    (row,) = answer.json
    assert row["ID"] == listing.ids[4]
    assert row["ModifyIndex"] == answer.index


def test_a_known_tag_and_a_wait_that_expired(listing: Listing) -> None:
    answer = listing.get()
    known = {"If-None-Match": answer.headers["etag"]}
    same = listing.get(known, index=answer.index, wait="50ms")
    assert (same.status, same.index) == (304, answer.index)
    listing.change()
    assert listing.get(known, index=answer.index, wait="1m").status == 200


def test_without_a_type_the_empty_list_has_an_index(api: Api) -> None:
    agent = FakeAgent(api)
    agent.report({"ebs0": {"node": up()}})
    waiting = f"/v1/plugins?index={agent.index}&wait=50ms&prefix=x"
    for path in ("/v1/plugins", "/v1/plugins?type=", waiting):
        answer = api.call("GET", path)
        assert (answer.status, answer.body, answer.index) == (200, b"[]", agent.index)
        assert answer.headers["x-nomad-knownleader"] == "true"
        contact = int(answer.headers["x-nomad-lastcontact"])
        assert contact == 0 or api.services.store.has_other_servers
    assert api.call("GET", "/v1/plugins?pretty").body == b"[]\n"
