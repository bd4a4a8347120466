"""Signing in with a token: sessions, what they may do, and how they end."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import orjson
import pytest

from plugind.acl.tokens import block, digest, draw
from plugind.errors import TooManyParked
from plugind.health import Hits
from plugind.intake import sessions
from plugind.model import Session
from plugind.state import State
from plugind.store.base import Contents
from plugind.testing.serving import load
from plugind.ui import throttle
from plugind.ui.session import COOKIE, FORM_COOKIE, digest_of, key_of
from plugind.ui.throttle import ATTEMPTS, Throttle
from tests.api.gate import MANAGEMENT, NODE, Gate, gate
from tests.support import Api, FakeAgent, down, serving, up
from tests.ui.support import Browser, parsed

PLUGIN = "/ui/plugin/csi/ebs0"

ENDED = "a-secret-that-a-browser-had".ljust(43, "-")


@pytest.fixture
def made(tmp_path: Path) -> Gate:
    return gate(tmp_path, "csi-read", "csi-list", "node-read")


@pytest.fixture
def api(tmp_path: Path, made: Gate) -> Iterator[Api]:
    config = made.config + 'server { trusted_proxies = ["127.0.0.1"] }\n'
    with serving(tmp_path, live=False, config=config) as served:
        agent = FakeAgent(served, NODE.rpartition("/")[2], token=made.secrets[MANAGEMENT])
        assert agent.report({"ebs0": {"node": down()}, "nfs": {"node": up()}}).status == 200
        yield served


def test_a_session_has_the_rights_of_its_token(api: Api, made: Gate) -> None:
    browser = Browser(api)
    refused = browser.get(PLUGIN)
    assert refused.status == 403
    assert "it needs the capability csi-read-plugin" in parsed(refused).text
    answer = browser.sign_in(made.secrets["csi-read"])
    assert (answer.status, answer.headers["location"]) == (303, "./")
    page = browser.get(PLUGIN)
    assert page.status == 200
    assert "csi-read" in parsed(page).text
    assert browser.get("/ui/nodes").status == 403
    assert api.call("GET", "/v1/plugin/csi/ebs0", headers=_cookie(browser)).status == 403


def _cookie(browser: Browser) -> dict[str, str]:
    return {"Cookie": f"{COOKIE}={browser.cookies[COOKIE]}"}


def test_cookies_of_others_do_no_harm(api: Api, made: Gate) -> None:
    browser = Browser(api)
    browser.sign_in(made.secrets["csi-read"])
    mine = f"{COOKIE}={browser.cookies[COOKIE]}"
    for other in ('a={"b": [1, 2]}', "=", "\x01", "é=ü", f"{COOKIE}x=1", 'q="'):
        assert api.call("GET", PLUGIN, headers={"Cookie": f"{other}; {mine}"}).status == 200


def test_the_cookie_is_for_pages_only_and_the_store_has_its_hash(
    api: Api, made: Gate, tmp_path: Path
) -> None:
    browser = Browser(api)
    browser.get("/ui/signin")
    form = parsed(browser.get("/ui/signin")).form
    fields = {"form": form, "token": made.secrets["csi-read"], "next": "plugin/csi/ebs0"}
    proxied = {"X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/catalogue"}
    answer = browser.post("/ui/signin", fields, **proxied)
    assert answer.headers["location"] == "plugin/csi/ebs0"
    secret = browser.cookies[COOKIE]
    assert re.fullmatch(
        rf"{COOKIE}={secret}; Max-Age=43200; HttpOnly; SameSite=Lax; Path=/catalogue/ui; Secure",
        answer.headers["set-cookie"],
    )
    (stored,) = api.services.store.load().sessions
    assert stored.key == key_of(secret)
    assert stored.accessor == made.accessors["csi-read"]
    data = b"".join(file.read_bytes() for file in tmp_path.glob("plugind.db*"))
    assert secret.encode() not in data
    assert made.secrets["csi-read"].encode() not in data


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_cookie_given_over_https_is_sent_over_https_only(
    tmp_path: Path, made: Gate, scheme: str
) -> None:
    with serving(tmp_path, live=False, config=made.config) as api:
        browser = Browser(api)
        form = parsed(browser.get("/ui/signin")).form
        fields = {"form": form, "token": made.secrets["csi-read"]}
        answer = browser.post("/ui/signin", fields, Origin=f"{scheme}://localhost")
        assert answer.headers["set-cookie"].endswith("; Secure") is (scheme == "https")


def test_the_access_log_has_who_signed_in_and_what_was_forgotten(
    made: Gate, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    with serving(tmp_path, live=False, config=made.config, server_access_log=str(log)) as api:
        agent = FakeAgent(api, NODE.rpartition("/")[2], token=made.secrets[MANAGEMENT])
        agent.report({"ebs0": {"node": down()}})
        browser = Browser(api)
        browser.sign_in(made.secrets[MANAGEMENT])
        asked = [{"type": "csi", "id": "ebs0"}, {"node": agent.node_id}]
        for query in asked:
            path = f"/ui/forget?{urlencode(query)}"
            form = parsed(browser.get(path)).form
            assert browser.post(path, {"form": form}).status == 303
    assert made.secrets[MANAGEMENT] not in log.read_text()
    lines = [orjson.loads(line) for line in log.read_text().splitlines()]
    posts = [each for each in lines if each["method"] == "POST"]
    assert [each["path"] for each in posts] == ["/ui/signin", "/ui/forget", "/ui/forget"]
    assert {each["accessor"] for each in posts} == {made.accessors[MANAGEMENT]}
    assert [each["query"] for each in posts] == [{}, *asked]


def test_a_session_outlives_the_server(tmp_path: Path, made: Gate) -> None:
    with serving(tmp_path, live=False, config=made.config) as first:
        browser = Browser(first)
        browser.sign_in(made.secrets["csi-read"])
    with serving(tmp_path, live=False, config=made.config) as second:
        browser.api = second
        assert "csi-read" in parsed(browser.get("/ui/")).text


def test_signing_in_again_and_out_ends_the_session_before(api: Api, made: Gate) -> None:
    browser = Browser(api)
    browser.sign_in(made.secrets["csi-read"])
    first = _cookie(browser)
    browser.sign_in(made.secrets["csi-list"])
    assert _cookie(browser) != first
    assert api.call("GET", PLUGIN, headers=first).status == 403, "the first session is over"
    second = _cookie(browser)
    form = parsed(browser.get("/ui/plugins/csi")).form
    left = browser.post("/ui/signout", {"form": form})
    assert left.status == 303
    assert COOKIE not in browser.cookies
    assert api.call("GET", "/ui/plugins/csi", headers=second).status == 403
    assert not api.services.store.load().sessions


def test_a_revoked_token_signs_out(api: Api, made: Gate, tmp_path: Path) -> None:
    browser = Browser(api)
    browser.sign_in(made.secrets["csi-read"])
    assert browser.get(PLUGIN).status == 200
    tokens = tmp_path / "tokens.hcl"
    kept = [
        block
        for block in re.split(r"(?=^token )", tokens.read_text(), flags=re.MULTILINE)
        if made.accessors["csi-read"] not in block
    ]
    tokens.write_text("".join(kept))
    api.services.reload(load(tmp_path, made.config, {"server_enabled": "true"})[0])
    assert browser.get(PLUGIN).status == 403
    page = parsed(browser.get("/ui/"))
    assert "Sign in" in page.text
    assert "csi-read" not in page.text


def test_a_new_secret_of_a_token_signs_out(api: Api, made: Gate, tmp_path: Path) -> None:
    browser = Browser(api)
    browser.sign_in(made.secrets["csi-read"])
    assert browser.get(PLUGIN).status == 200
    tokens, new = tmp_path / "tokens.hcl", "f" * 64
    old = digest(made.secrets["csi-read"]).hex()
    tokens.write_text(tokens.read_text().replace(old, digest(new).hex()))
    api.services.reload(load(tmp_path, made.config, {"server_enabled": "true"})[0])
    assert browser.get(PLUGIN).status == 403
    browser.sign_in(new)
    assert browser.get(PLUGIN).status == 200


def test_a_session_ends_with_its_token(api: Api, made: Gate) -> None:
    accessor = made.accessors["csi-read"]
    now = time.time_ns()
    token = digest_of(api.services.acl.held_by(accessor, now))
    api.services.intake.sign_in(Session(key_of(ENDED), accessor, token, now - 9, now - 1))
    headers = {"Cookie": f"{COOKIE}={ENDED}"}
    assert api.call("GET", PLUGIN, headers=headers).status == 403, "it is over"
    api.services.intake.sign_in(Session(key_of("y" * 43), accessor, token, now, now + 10**12))
    assert [each.key for each in api.services.store.load().sessions] == [key_of("y" * 43)]
    assert api.call("GET", PLUGIN, headers={"Cookie": f"{COOKIE}={'y' * 43}"}).status == 200


@pytest.mark.parametrize("secret", ["", "wrong", "0" * 64, "é\x1b[31m", '"><script>'])
def test_a_wrong_token_is_refused(api: Api, secret: str) -> None:
    browser = Browser(api)
    answer = browser.sign_in(secret)
    assert answer.status == 403
    assert "No such token, or it is expired." in parsed(answer).text
    assert COOKIE not in browser.cookies
    assert not api.services.store.load().sessions


@pytest.mark.parametrize("next_", ["//evil.example", "https://evil.example", "../v1/x", "\\evil"])
def test_no_other_site_is_gone_on_to(api: Api, made: Gate, next_: str) -> None:
    browser = Browser(api)
    fields = {"form": parsed(browser.get("/ui/signin")).form, "next": next_}
    answer = browser.post("/ui/signin", {**fields, "token": made.secrets["csi-read"]})
    assert answer.headers["location"] == "./"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": ""},
        {"Origin": "null"},
        {"Origin": "http://[::1"},
        {"Origin": "http://localhost:81"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "other"},
    ],
)
def test_a_form_of_another_site_is_refused(api: Api, made: Gate, headers: dict[str, str]) -> None:
    browser = Browser(api)
    fields = {"form": parsed(browser.get("/ui/signin")).form, "token": made.secrets["csi-read"]}
    answer = browser.post("/ui/signin", fields, **headers)
    assert answer.status == 403
    assert "another site" in parsed(answer).text
    assert not api.services.store.load().sessions


def test_a_trusted_proxy_names_the_host(api: Api, made: Gate) -> None:
    browser = Browser(api)
    fields = {"form": parsed(browser.get("/ui/signin")).form, "token": made.secrets["csi-read"]}
    seen = {"Origin": "https://plugins.example", "X-Forwarded-Host": "plugins.example"}
    assert browser.post("/ui/signin", fields, **seen).status == 303


def test_a_form_of_another_browser_is_refused(api: Api, made: Gate) -> None:
    one, other = Browser(api), Browser(api)
    form = parsed(one.get("/ui/signin")).form
    other.get("/ui/signin")
    fields = {"token": made.secrets["csi-read"]}
    for given in (form, "", "é", "0" * 64):
        answer = other.post("/ui/signin", {**fields, "form": given})
        assert (answer.status, "out of date" in parsed(answer).text) == (403, True)
    one.sign_in(made.secrets["csi-read"])
    signed_in = parsed(one.get("/ui/signin")).form
    assert signed_in != form, "a form is bound to the session"


def test_forgetting_needs_management_and_a_confirmation(api: Api, made: Gate) -> None:
    browser = Browser(api)
    browser.sign_in(made.secrets["csi-read"])
    path = "/ui/forget?type=csi&id=ebs0"
    assert "Forget" not in parsed(browser.get(PLUGIN)).text
    assert browser.get(path).status == 403
    assert browser.post(path, {"form": "x"}).status == 403
    browser.sign_in(made.secrets[MANAGEMENT])
    assert "Forget" in parsed(browser.get(PLUGIN)).text
    page = parsed(browser.get(path))
    assert "1 unhealthy instance of csi/ebs0 will be removed" in page.text
    assert browser.post(path, {"form": "0" * 64}).status == 403
    answer = browser.post(path, {"form": page.form})
    assert (answer.status, answer.headers["location"]) == (303, "plugins/csi")
    assert not api.services.catalogue.state.has_plugin(("csi", "ebs0"))  # type: ignore[arg-type]
    path = f"/ui/forget?node={NODE.rpartition('/')[2]}"
    answer = browser.post(path, {"form": parsed(browser.get(path)).form})
    assert (answer.status, answer.headers["location"]) == (303, "nodes")
    assert browser.get(path).status == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 303),
        ("localhost:4646", 303),
        ("127.0.0.1:4646", 303),
        ("[::1]:4646", 303),
        ("catalogue", 303),
        ("rebound.example", 403),
        ("rebound.example:4646", 403),
        ("localhost.evil.example", 403),
    ],
)
def test_without_acls_a_form_needs_a_known_host(tmp_path: Path, host: str, status: int) -> None:
    with serving(tmp_path, live=False, name="catalogue") as api:
        FakeAgent(api).report({"ebs0": {"node": down()}})
        browser = Browser(api, host=host)
        path = "/ui/forget?type=csi&id=ebs0"
        page = parsed(browser.get(path))
        assert FORM_COOKIE in browser.cookies
        assert browser.post(path, {"form": page.form}).status == status


def test_without_acls_a_form_is_bound_to_a_browser_as_well(tmp_path: Path) -> None:
    with serving(tmp_path, live=False) as api:
        FakeAgent(api).report({"ebs0": {"node": down()}})
        path = "/ui/forget?type=csi&id=ebs0"
        form = parsed(Browser(api).get(path)).form
        assert Browser(api).post(path, {"form": form}).status == 403
        assert Browser(api).post("/ui/signin", {"form": form}).status == 403


def test_attempts_to_sign_in_are_limited_by_address(api: Api) -> None:
    browser = Browser(api)
    statuses = [browser.sign_in("wrong").status for _ in range(ATTEMPTS + 2)]
    assert statuses == [403] * ATTEMPTS + [429] * 2
    answer = browser.sign_in("wrong")
    assert answer.headers["retry-after"] == "1"
    assert "wait a few seconds" in parsed(answer).text
    assert api.services.hits.counts["sign_ins"] == 3


def test_attempts_come_back_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now)
    limit = Throttle(Hits())

    def is_allowed(client: str) -> bool:
        try:
            limit.attempt(client)
        except TooManyParked:
            return False
        return True

    assert [is_allowed("192.0.2.1") for _ in range(ATTEMPTS + 1)] == [True] * ATTEMPTS + [False]
    assert is_allowed("192.0.2.2")
    now = throttle.SECONDS_EACH
    assert [is_allowed("192.0.2.1") for _ in range(2)] == [True, False]
    for number in range(ATTEMPTS):
        assert is_allowed(f"2001:db8::{number}")
    assert not is_allowed("2001:db8::ffff:1"), "one client has the whole network"
    monkeypatch.setattr(throttle, "ADDRESSES_MAXIMUM", 3)
    for number in range(10):
        assert is_allowed(f"192.0.2.1{number}")
    assert len(limit._free_at) == 3


def test_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_PER_TOKEN", 2)
    monkeypatch.setattr(sessions, "SESSIONS_MAXIMUM", 3)
    held = [
        Session("a1", "a", "", 1, 99),
        Session("a2", "a", "", 2, 99),
        Session("b1", "b", "", 0, 99),
        Session("b2", "b", "", 0, 5),
    ]
    state = State.of(Contents(1, [], [], [], {}, sessions=held))
    ended = {
        accessor: {
            step.some.key
            for step in sessions.begin(state, Session("new", accessor, "", 9, 99), "", 9)
            if step.after is None
        }
        for accessor in "abc"
    }
    assert ended == {"a": {"a1", "b2"}, "b": {"b2", "a1"}, "c": {"b2", "a1"}}
    steps = sessions.begin(state, Session("new", "c", "", 9, 99), "b1", 9)
    assert {step.some.key for step in steps if step.after is None} == {"b1", "b2"}


def test_a_token_that_expires_ends_its_session_with_it(tmp_path: Path) -> None:
    made = gate(tmp_path, "csi-read")
    secret, token = draw("brief", "client", ["csi-read"], time.time_ns() + 3600 * 10**9)
    tokens = tmp_path / "tokens.hcl"

    tokens.write_text(tokens.read_text() + block(token))
    with serving(tmp_path, live=False, config=made.config) as api:
        Browser(api).sign_in(secret)
        (stored,) = api.services.store.load().sessions
        assert stored.ends == token.expires
