"""The contents of pages, and their form: selected, sorted, escaped, paged and as CSV."""

from __future__ import annotations

import csv
import io
import re
import time
from pathlib import Path
from urllib.parse import quote, urljoin

import pytest

from plugind.availability.sums import Sums
from plugind.model.times import SECOND
from plugind.printable import lines
from plugind.ui import availability, rows
from plugind.ui.pages import CONTENT_SECURITY_POLICY
from plugind.ui.tables import cell
from tests.hostile_texts import SENDABLE, unsafe
from tests.support import Answer, Api, FakeAgent, down, serving, up
from tests.ui.support import Page, parsed

LIST = "/ui/plugins/csi"
MARKUP = "<img src=x onerror=alert(1)>\"'&{{7*7}}</script><!--"


def names(answer: Answer) -> list[str]:
    """Return the IDs in the list of plugins, in its order."""
    return re.findall(r'<tr id="plugin-([^"]+)"', answer.text)


def test_what_is_declared_and_missing_is_counted_by_role(tmp_path: Path) -> None:
    config = 'plugin "csi" "gp3" {\n  nodes_expected = 3\n}\n'
    with serving(tmp_path, live=False, config=config) as api:
        FakeAgent(api).report({"gp3": {"node": up()}})
        page = parsed(api.call("GET", "/ui/plugin/csi/gp3"))
        assert "Declared, but missing: 2 (role node)." in page.text


def test_ui_without_the_slash_leads_to_the_pages(api: Api) -> None:
    for method in ("GET", "HEAD"):
        answer = api.call(method, "/ui", headers={"Host": "evil.example"})
        assert (answer.status, answer.headers["location"]) == (303, "ui/")
        assert answer.headers["cache-control"] == "no-store"


def test_a_browser_is_led_to_the_pages_and_no_other_client(api: Api) -> None:
    browser = api.call("GET", "/", headers={"Accept": "text/html,application/xml;q=0.9,*/*"})
    assert (browser.status, browser.headers["location"]) == (303, "ui/")
    for accept in ("*/*", "application/json", ""):
        answer = api.call("GET", "/", headers={"Accept": accept})
        assert (answer.status, "Accept" in answer.headers["vary"]) == (200, True)
        assert answer.text.startswith("plugind keeps")


def test_pages_have_strict_headers_and_no_inline_code(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": down(), "controller": up()}})
    for path in (
        *("/ui/", LIST, "/ui/plugin/csi/ebs0", "/ui/nodes", f"/ui/node/{agent.node_id}"),
        *("/ui/server", "/ui/signin", "/ui/forget?type=csi&id=ebs0", "/ui/plugin/csi/none"),
    ):
        answer = api.call("GET", path)
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        page = parsed(answer)
        for tag, attributes in page.tags:
            assert tag != "style", path
            assert not {name for name in attributes if name.startswith("on")}, path
            assert "style" not in attributes, path
            assert tag != "script" or attributes.get("src"), path
            for name in ("href", "src", "action"):
                value = attributes.get(name, "")
                assert not value.startswith(("/", "http", "javascript:", "data:")), (path, value)
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY


def test_every_link_of_every_page_leads_somewhere(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": down(), "controller": up(ProviderVersion="1")}})
    todo, seen = ["/ui/"], set()
    while todo:
        path = todo.pop()
        seen.add(path)
        answer = api.call("GET", path)
        assert answer.status == 200, path
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        for each in (*parsed(answer).all("a"), *parsed(answer).all("link")):
            target = _joined(path, each["href"])
            if "sort=" not in target and target not in seen:
                todo.append(target)
                seen.add(target)
    assert {"/ui/nodes", "/ui/server", f"/ui/node/{agent.node_id}", LIST} <= seen


def _joined(path: str, reference: str) -> str:

    return urljoin(f"http://h{path}", reference).removeprefix("http://h").partition("#")[0]


def test_the_overview_groups_what_is_wrong(tmp_path: Path) -> None:
    config = 'plugin "csi" "gp3" {\n  nodes_expected = 3\n}\n'
    with serving(tmp_path, live=False, config=config) as api:
        for number in range(3):
            plugins = {"ebs0": {"node": down("disk on fire")}, "nfs": {"node": up()}}
            FakeAgent(api, name=f"vm{number}").report(plugins)
        lost = FakeAgent(api, name="silent")
        lost.report({f"p{number}": {"node": up()} for number in range(30)})
        api.services.intake.silence([lost.node_id])
        answer = api.call("GET", "/ui/")
        page = parsed(answer)
        found = re.findall(r'<li id="problem-([^"]+)"', answer.text)
        assert len(found) == 3, "a node that is down is one entry, not thirty"
        assert "node silent 30 instances nothing heard of node silent since" in page.text
        assert "3 of 3 instances disk on fire role node on vm0 , vm1 , vm2 since" in page.text
        assert "3 instances missing 3 expected, none known role node since" in page.text
        assert "<title>(3) Overview" in answer.text
        icon = next(each["href"] for each in page.all("link") if each["rel"] == "icon")
        assert icon == "static/icon/down/3"
        assert "3</text>" in api.call("GET", f"/ui/{icon}").text
        rows_ = list(csv.DictReader(io.StringIO(api.call("GET", "/ui/?csv=problems").text)))
        assert {each["Kind"] for each in rows_} == {"node", "plugin", "missing"}


def test_the_same_reason_on_several_nodes_is_one(api: Api) -> None:
    for number in range(3):
        agent = FakeAgent(api, name=f"vm{number}")
        agent.report({"ebs0": {"node": up()}})
        agent.report({})
    text = parsed(api.call("GET", "/ui/")).text
    wrong = text.partition("What is wrong now")[2].partition("What happened last")[0]
    assert wrong.count("not reported by its node any more") == 1
    assert "3 of 3 instances" in wrong


def test_nothing_is_wrong(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": up()}})
    answer = api.call("GET", "/ui/")
    assert "Nothing is wrong with what you may see." in parsed(answer).text
    assert "<title>Overview" in answer.text


@pytest.fixture
def fleet(api: Api) -> Api:
    for number, (datacenter, version) in enumerate((("dc1", "1"), ("dc2", "2"), ("dc2", "2"))):
        plugins = {
            "alpha": {"node": up(Provider="a.example", ProviderVersion=version)},
            f"only{number}": {"node": up() if number else down()},
        }
        FakeAgent(api, name=f"vm{number}").report(
            plugins, Datacenter=datacenter, NodeClass="fast" if number == 1 else ""
        )
    return api


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["alpha", "only0", "only1", "only2"]),
        ("q=ONLY", ["only0", "only1", "only2"]),
        ("q=a.example", ["alpha"]),
        ("datacenter=dc2", ["alpha", "only1", "only2"]),
        ("class=fast", ["alpha", "only1"]),
        ("version=1", ["alpha"]),
        ("version=1&datacenter=dc2", []),
        ("state=down", ["only0"]),
        ("state=other", ["alpha", "only0", "only1", "only2"]),
        ("filter=NodesExpected+%3E+1", ["alpha"]),
        ("sort=-id", ["only2", "only1", "only0", "alpha"]),
        ("sort=state", ["only0", "alpha", "only1", "only2"]),
        ("sort=expected", ["alpha", "only0", "only1", "only2"]),
        ("sort=versions", ["alpha", "only0", "only1", "only2"]),
        ("root=x&steps=y&class=", ["alpha", "only0", "only1", "only2"]),
    ],
)
def test_the_url_selects_and_sorts_plugins(fleet: Api, query: str, found: list[str]) -> None:
    assert names(fleet.call("GET", f"{LIST}?{query}")) == found
    table = fleet.call("GET", f"{LIST}?{query}&csv=plugins")
    assert [each["ID"] for each in csv.DictReader(io.StringIO(table.text))] == found


def test_a_version_spread_is_shown(fleet: Api) -> None:
    page = parsed(fleet.call("GET", LIST))
    assert re.search(r"2 .2 1 .1", page.text)
    assert page.all("option"), "versions and datacenters can be chosen"


@pytest.mark.parametrize("query", ["filter=x+==", "sort=nothing", "filter=Nothing+==+1"])
def test_a_mistake_in_the_url_is_shown_on_the_page(api: Api, query: str) -> None:
    answer = api.call("GET", f"{LIST}?{query}")
    assert answer.status == 400
    assert parsed(answer).all("form"), "the field that can be corrected is there"
    assert 'role="alert"' in answer.text


def test_every_cell_of_a_table_is_quoted(api: Api, agent: FakeAgent) -> None:
    """Quote cells so that a spreadsheet that splits at semicolons finds no formula either."""
    agent.report({"ebs0": {"node": down("x;=1+1")}})
    answer = api.call("GET", "/ui/?csv=problems")
    assert '"x;=1+1"' in answer.text
    assert all(re.fullmatch('("[^"]*",?)+', line) for line in answer.text.splitlines())
    assert answer.headers["vary"] == api.call("GET", "/ui/").headers["vary"]


_LONG = [f"{path}={'9' * 5_000}" for path in (f"{LIST}?page", "/ui/?before", "/ui/nodes?page")]


@pytest.mark.parametrize(
    "path", [f"{LIST}?page=x", "/ui/plugin/csi/ebs0?before=x", "/ui/?before=-", *_LONG]
)
def test_other_mistakes_are_pages_of_errors(api: Api, agent: FakeAgent, path: str) -> None:
    agent.report({"ebs0": {"node": up()}})
    answer = api.call("GET", path)
    assert (answer.status, "Invalid" in parsed(answer).text) == (400, True)


def test_long_lists_have_pages(api: Api, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    agent.report({f"p{number:03}": {"node": up()} for number in range(450)})
    first = api.call("GET", LIST)
    assert len(names(first)) == rows.PAGE
    assert "Page 1 of 3, 450 rows" in parsed(first).text
    (following,) = [each["href"] for each in parsed(first).all("a") if each.get("rel") == "next"]
    assert names(api.call("GET", f"{LIST}{following}"))[0] == "p200"
    assert len(names(api.call("GET", f"{LIST}?page=9"))) == 50
    assert len(api.call("GET", f"{LIST}?csv=plugins&page=2").text.splitlines()) == 451


def test_the_matrix_shows_what_is_unhealthy_first(api: Api) -> None:
    for number in range(60):
        healthy = up() if number != 57 else down()
        FakeAgent(api, name=f"vm{number}").report({"ebs0": {"node": healthy, "controller": up()}})
    page = parsed(api.call("GET", "/ui/plugin/csi/ebs0"))
    matrix = page.text.partition("Roles by nodes")[2].partition("Instances")[0]
    assert "60 of 60 healthy" in matrix
    assert "59 of 60 healthy" in matrix
    assert "vm57 healthy unhealthy 59 nodes where all is healthy: show all" in matrix
    whole = api.call("GET", "/ui/plugin/csi/ebs0?nodes=all").text
    assert len(re.findall(r'<tr id="line-', whole)) == 60


def test_the_page_of_a_plugin(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": down("disk on fire", ProviderVersion="1.2", AllocID="abc")}})
    agent.report({"ebs0": {"node": up(ProviderVersion="1.3")}})
    page = parsed(api.call("GET", "/ui/plugin/csi/ebs0"))
    assert "version 1.2 → 1.3" not in page.text
    assert "1.2 → 1.3" in page.text
    assert "curl -s" in page.text
    assert "/v1/plugin/csi/ebs0" in page.text
    assert "plugind plugin status csi/ebs0" in page.text
    events = api.call("GET", "/ui/plugin/csi/ebs0?csv=events").text
    assert [each["Event"] for each in csv.DictReader(io.StringIO(events))][-1] == "appeared"
    api.call("DELETE", f"/v1/node/{agent.node_id}", headers=agent.headers)
    gone = api.call("GET", "/ui/plugin/csi/ebs0")
    assert (gone.status, "no such plugin any more" in parsed(gone).text) == (404, True)
    gone = api.call("GET", f"/ui/node/{agent.node_id}")
    assert (gone.status, "no such node any more" in parsed(gone).text) == (404, True)


def table_of(api: Api, path: str) -> list[dict[str, str]]:
    answer = api.call("GET", path)
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_availability_in_three_windows(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": down(), "controller": up()}})
    for path, names in (("/ui/plugin/csi/ebs0", ""), (f"/ui/node/{agent.node_id}", "csi ")):
        text = parsed(api.call("GET", path)).text.partition("Availability")[2]
        text = text.replace("\N{EN DASH}", "none")
        good, bad = "100 % 100 % [0-9]+ s none none none", "0.00 % 0.00 % none [0-9]+ s none none"
        assert re.search(f"{names}controller 24h {good} 7d {good}", text), path
        assert re.search(f"{names}node 24h {bad} 7d {bad}", text), path
        found = table_of(api, f"{path}?csv=availability")
        assert [(row["Role"], row["Window"], row["Availability"]) for row in found] == [
            *(("controller", each, "1.0") for each in ("24h", "7d", "30d")),
            *(("node", each, "0.0") for each in ("24h", "7d", "30d")),
        ]
        assert all(float(row["Observed"]) > 0 for row in found)


def test_each_plugin_in_the_list_has_its_last_24_hours(api: Api, agent: FakeAgent) -> None:
    agent.report({"bad": {"node": down()}, "good": {"node": up()}, "half": {"node": up()}})
    FakeAgent(api, name="vm2").report({"half": {"node": down()}})
    answer = api.call("GET", LIST)
    pictures = re.findall(r"<svg class=\"strip\".*?</svg>", answer.text)
    titles = [re.findall(r"<title>([0-9.]+) %", each)[0] for each in pictures]
    assert (titles[0], titles[1]) == ("0.00", "100")
    assert 0 < float(titles[2]) < 100
    for picture, class_ in zip(pictures, ("bad", "good", "some"), strict=True):
        assert f'<path class="{class_}"' in picture
    for query, order in (("", ["bad", "half", "good"]), ("-", ["good", "half", "bad"])):
        assert names(api.call("GET", f"{LIST}?sort={query}availability")) == order
    found = {row["ID"]: row for row in table_of(api, f"{LIST}?csv=plugins")}
    assert (found["bad"]["Availability24h"], found["good"]["Availability24h"]) == ("0.0", "1.0")
    assert found["half"]["AnyHealthy24h"] == "1.0"


def test_what_was_short_is_seen_in_a_picture() -> None:
    window = {"Healthy": 86_399.0, "Unhealthy": 1.0, "NodeDown": 0.0, "Unknown": 0.0}
    good, bad = availability.parts_of(window)
    assert (good[0], bad[0]) == ("good", "bad")
    assert bad[2] >= 5
    assert good[2] + bad[2] == 1000
    assert not list(availability.parts_of(dict.fromkeys(window, 0.0)))
    hour = Sums(healthy=3_599, observed=3_600)
    assert str(availability.strip_picture([hour, Sums()])) == (
        '<path class="bad" d="M1.5 0V3"/><path class="some" d="M1.5 16V3"/>'
        '<path class="unknown" d="M5.5 16V14"/>'
    )


@pytest.mark.parametrize(
    ("share", "text"),
    [
        *((None, "not known"), (1.0, "100 %"), (0.9999999, "99.99 %"), (0.2899, "28.99 %")),
        *((0.0, "0.00 %"), (0.00001, "0.01 %")),
    ],
)
def test_shares_are_rounded_down(share: float | None, text: str) -> None:
    assert availability.percent(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (99, "99 s"), (100, "2 min"), (5_999, "100 min"), (6_000, "1.7 h")),
        (360_000, "4.2 d"),
    ],
)
def test_sums_of_times_are_short(seconds: float, text: str) -> None:
    assert availability.span(seconds) == text


def test_pages_with_availability_are_kept_for_a_minute(
    api: Api, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.report({"ebs0": {"node": up()}})
    minute = time.time_ns() // availability.MINUTE
    for path in (LIST, "/ui/plugin/csi/ebs0", f"/ui/node/{agent.node_id}"):
        tags = []
        for later in (0, 1, 59, 60):
            now = minute * availability.MINUTE + later * SECOND
            monkeypatch.setattr(time, "time_ns", lambda now=now: now)
            tags.append(api.call("GET", path).headers["etag"])
        assert tags[0] == tags[1] == tags[2] != tags[3], path


def test_history_goes_on_behind_a_page(api: Api, agent: FakeAgent) -> None:
    for number in range(60):
        agent.report({"ebs0": {"node": down(f"reason {number}")}})
    path, reasons = "/ui/plugin/csi/ebs0", []
    for _ in range(2):
        answer = api.call("GET", path)
        history = answer.text.partition('id="events"')[2]
        reasons += re.findall(r"reason (\d+)</span>", history)
        older = [each["href"] for each in parsed(answer).all("a") if "before=" in each["href"]]
        path = f"/ui/plugin/csi/ebs0{older[-1]}" if older else path
    assert len(reasons) == len(set(reasons)), "no event twice"
    assert len(reasons) >= 50


def test_the_page_of_the_server(api: Api, agent: FakeAgent) -> None:
    agent.report({"bad": {"node": {"Healthy": "maybe"}}, "ebs0": {"node": up()}}, Version="9.9")
    api.services.hits.add("max_parked")
    page = parsed(api.call("GET", "/ui/server"))
    assert "9.9 1" in page.text
    assert "max_parked 1 time" in page.text
    assert "the agent's report of it was rejected" in page.text
    for name in ("rejected", "agents", "limits"):
        assert (
            api.call("GET", f"/ui/server?csv={name}").headers["content-type"].startswith("text/csv")
        )


@pytest.mark.parametrize("what", [*SENDABLE, "markup"])
def test_no_text_of_a_driver_or_agent_reaches_a_page_unescaped(
    api: Api, agent: FakeAgent, what: str
) -> None:
    text = MARKUP if what == "markup" else SENDABLE[what]
    agent.name = f"vm{text}"
    fields = {"Provider": text, "ProviderVersion": text, "AllocID": "a"}
    labels = {"Attributes": {f"a{text}": text}, "Meta": {"m": text}}
    agent.report(
        {"ebs0": {"node": down(text, **fields), "controller": up()}},
        **labels,
        Datacenter=f"d{text}",
        Version=text,
        NodeClass=text,
        Address=text,
    )
    paths = ["/ui/", LIST, "/ui/plugin/csi/ebs0", "/ui/nodes", f"/ui/node/{agent.node_id}"]
    clean = [_shape(parsed(api.call("GET", path))) for path in paths]
    for path, shape in zip(paths, clean, strict=True):
        answer = api.call("GET", path)
        assert answer.status == 200, path
        assert not unsafe(answer.text), path
        assert "<img" not in answer.text
        assert {"img", "iframe", "object"}.isdisjoint(shape), path
    assert lines(text) in "".join(parsed(api.call("GET", "/ui/plugin/csi/ebs0")).words)
    for path in (f"{LIST}?q=", f"{LIST}?filter=", f"{LIST}?sort=", "/ui/nodes?q="):
        answer = api.call("GET", path + quote(text))
        assert not unsafe(answer.text)
        assert "<img" not in answer.text
    for path in ("/ui/?csv=problems", f"{LIST}?csv=plugins", "/ui/nodes?csv=nodes"):
        found = api.call("GET", path).text.replace("\r\n", "\n")
        assert not unsafe(found), path


def _shape(page: Page) -> set[str]:
    return {tag for tag, _ in page.tags}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\\x09=1"),
        ("\r=1", "'\\x0d=1"),
        (-1, "-1"),
        (None, ""),
        ("a=b", "a=b"),
    ],
)
def test_no_cell_is_a_formula(value: str | int | None, wanted: str) -> None:
    assert cell(value) == wanted


def test_a_page_that_is_the_same_is_not_sent_again(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": up()}})
    first = api.call("GET", "/ui/")
    tag = first.headers["etag"]
    assert api.call("GET", "/ui/", headers={"If-None-Match": tag}).status == 304
    agent.report({"ebs0": {"node": down()}})
    assert api.call("GET", "/ui/", headers={"If-None-Match": tag}).status == 200


def test_files_are_kept_for_good_under_names_of_their_contents(api: Api) -> None:
    page = parsed(api.call("GET", "/ui/nodes"))
    for url in [each["src"] for each in page.all("script")]:
        assert re.fullmatch(r"static/\w+\.js\?v=[0-9a-f]{12}", url)
        answer = api.call("GET", f"/ui/{url}")
        assert "immutable" in answer.headers["cache-control"]
    assert api.call("GET", "/ui/static/icon/x/9" + "9" * 5000).status == 200
    assert api.call("GET", "/ui/static/icon/%3Cscript%3E/x").text.count("<script") == 0
