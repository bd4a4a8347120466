"""Every page under each policy: who may open it, and that it leaks nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from plugind.ui import PAGES, timeline
from tests.api.gate import (
    ANYBODY,
    EVERYBODY,
    EXPIRED,
    MANAGEMENT,
    NO_NODE,
    NOBODY,
    NODE,
    UNKNOWN,
    Gate,
    Request,
    gate,
    only,
)
from tests.support import SECRET, Api, down, serving, up
from tests.ui.support import parsed

NODE_ID = NODE.rpartition("/")[2]
OF_NODE = {"X-Plugind-Node-Secret": SECRET}

_LOOK = only(
    *("plugin-read", "denied elsewhere", "namespace-read", "namespace-write", "exact", "near")
)
_LIST_CSI = _LOOK | only("csi-list", "plugin-list", "apps")
_LIST_EXEC = _LOOK | only("exec-list", "plugin-list")
_READ_CSI = _LOOK | only("csi-read", "apps")
_NODES = only("node-read", "node-write")
_ANYTHING = _LIST_CSI | _LIST_EXEC | _READ_CSI | _NODES | only("exec-read")
_AGENT = only("agent-read", "agent-write")

REQUESTS = [
    Request("GET", "/ui/", ANYBODY),
    Request("GET", "/ui/?csv=problems", ANYBODY),
    Request("GET", "/ui/?csv=events", ANYBODY),
    Request("GET", "/ui/plugins/csi", _LIST_CSI),
    Request("GET", "/ui/plugins/csi?csv=plugins", _LIST_CSI),
    Request("GET", "/ui/plugins/exec", _LIST_EXEC),
    Request("GET", "/ui/plugins/nothing", _LIST_CSI | _LIST_EXEC, 404),
    Request("GET", "/ui/plugin/csi/ebs0", _READ_CSI),
    Request("GET", "/ui/plugin/csi/ebs0?csv=instances", _READ_CSI),
    Request("GET", "/ui/plugin/csi/none", _READ_CSI, 404),
    Request("GET", "/ui/plugin/exec/none", _LOOK | only("exec-read"), 404),
    Request("GET", "/ui/nodes", _NODES),
    Request("GET", f"/ui/node/{NODE_ID}", _NODES),
    Request("GET", f"/ui/node/{NO_NODE.rpartition('/')[2]}", _NODES, 404),
    Request("GET", "/ui/server", _AGENT),
    Request("GET", "/ui/signin", ANYBODY),
    Request("POST", "/ui/signin", frozenset(), 403),
    Request("POST", "/ui/signout", frozenset(), 403),
    Request("GET", "/ui/forget?type=csi&id=ebs0", only()),
    Request("POST", "/ui/forget?type=csi&id=ebs0", frozenset(), 403),
    Request("HEAD", "/ui/events", _ANYTHING),
    Request("GET", "/ui/static/page.js", EVERYBODY),
    Request("GET", "/ui/static/none.js", EVERYBODY, 404),
    Request("GET", "/ui/static/icon/down/3", EVERYBODY),
]
"""A form is refused without its token, even to those who may send it."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return gate(tmp_path_factory.mktemp("acl"))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, made: Gate) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data"), live=False, config=made.config) as served:
        plugins = {
            "csi": {"ebs0": {"node": down("disk on fire")}, "nfs": {"node": up()}},
            "exec": {"secret-check": {"check": down("exec reason")}},
        }
        headers = {**OF_NODE, **made.headers(MANAGEMENT)}
        body = {"Name": "secret-vm", "Datacenter": "secret-dc", "Plugins": plugins}
        assert served.call("PUT", NODE, body, headers).status == 200
        yield served


def test_every_page_stands_in_the_table_of_this_test(api: Api) -> None:
    routes = api.app.url_map.bind("localhost")  # type: ignore[attr-defined]
    found = set()
    for each in REQUESTS:
        method = "GET" if each.method == "HEAD" else each.method
        rule, _ = routes.match(each.path.partition("?")[0], method, return_rule=True)
        found.add(f"{rule.rule} {method}")
    assert found == {f"{each.path} {each.method}" for each in PAGES}


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda each: f"{each.method} {each.path}")
def test_every_page_with_every_caller(api: Api, made: Gate, request_: Request) -> None:
    wrong = []
    for name in sorted(EVERYBODY):
        got = api.call(request_.method, request_.path, headers=made.headers(name))
        wanted = request_.status if name in request_.allowed else 403
        if got.status != wanted:
            wrong.append((name, got.status, wanted))
        if got.status == 403 and request_.method != "HEAD":
            text = parsed(got).text
            is_wrong_token = name in (UNKNOWN, EXPIRED)
            assert ("ACL token not found" in text) is is_wrong_token, (name, text)
            for secret in ("secret-vm", "secret-dc", "disk on fire", "exec reason", "nfs"):
                assert secret not in got.text
    assert not wrong


LEAKS = {
    "plugins of the type": ("ebs0", _LIST_CSI),
    "healthy plugins of the type": ('href="plugins/csi"', _LIST_CSI),
    "the reason": ("disk on fire", _LIST_CSI & _READ_CSI),
    "another type's plugin": ("secret-check", _LIST_EXEC),
    "another type's reason": ("exec reason", _LIST_EXEC & (_LOOK | only("exec-read"))),
    "the node's name": ("secret-vm", _LIST_CSI & _READ_CSI),  # of the instances on it
    "the node's page": (f'href="node/{NODE_ID}"', only()),
    "the count of nodes": ('href="nodes"', _NODES),
    "the server": ('href="server"', _AGENT),
    "the node's datacenter": ("secret-dc", frozenset[str]()),
}
"""The parts of the overview, and who sees them."""


@pytest.mark.parametrize("what", LEAKS)
def test_the_overview_shows_what_its_reader_may_see(api: Api, made: Gate, what: str) -> None:
    text, allowed = LEAKS[what]
    shown = {
        name
        for name in EVERYBODY - {UNKNOWN, EXPIRED}
        if text in api.call("GET", "/ui/", headers=made.headers(name)).text
    }
    assert shown == allowed


def test_the_number_of_problems_counts_only_what_is_shown(api: Api, made: Gate) -> None:
    counts = {
        name: _problems(api.call("GET", "/ui/", headers=made.headers(name)).text)
        for name in (MANAGEMENT, "csi-list", "csi-read", "exec-list", "node-read", NOBODY)
    }
    assert counts == {
        MANAGEMENT: 2,
        "csi-list": 1,
        "csi-read": 0,
        "exec-list": 1,
        "node-read": 0,
        NOBODY: 0,
    }


def _problems(text: str) -> int:
    title = text.partition("<title>")[2]
    return int(title[1 : title.index(")")]) if title.startswith("(") else 0


def test_filters_on_nodes_need_the_right_to_read_nodes(api: Api, made: Gate) -> None:
    """Ignore the filter otherwise, because a listed plugin would reveal where it runs."""
    path = "/ui/plugins/csi?datacenter=elsewhere"
    for name, shown in ((MANAGEMENT, False), ("csi-list", True), ("plugin-read", True)):
        answer = api.call("GET", path, headers=made.headers(name))
        assert ("ebs0" in answer.text) is shown, name
        assert ("secret-dc" in answer.text) is (name == MANAGEMENT)


def test_a_list_without_the_right_to_read_has_no_reasons_and_no_versions(
    api: Api, made: Gate
) -> None:
    answer = api.call("GET", "/ui/plugins/csi?version=1", headers=made.headers("csi-list"))
    assert "ebs0" in answer.text, "a version that the reader may not know selects nothing"
    assert 'href="../plugin/csi/ebs0"' not in answer.text
    assert "<time" not in answer.text.partition("<tbody>")[2]


def test_events_that_a_reader_may_not_see_do_not_end_the_history(
    api: Api, made: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "_LOOKED_AT", 1)
    shown = api.call("GET", "/ui/", headers=made.headers("node-read")).text
    assert "Older events" in shown
    assert '<ol class="events">' not in shown


def test_answers_of_different_readers_have_different_tags(api: Api, made: Gate) -> None:
    tags = {
        api.call("GET", "/ui/", headers=made.headers(name)).headers["etag"]
        for name in ("csi-list", "csi-read", "node-read", MANAGEMENT, NOBODY)
    }
    assert len(tags) == 5
