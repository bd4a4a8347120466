"""The text of a 403: the words that Nomad's clients expect, and the rights that were missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from plugind.cli.acl_explain import _as_text, _explained
from tests.api.gate import NODE, Gate, gate
from tests.support import SECRET, Api, serving

MANAGING = "a management token"
NODES = "the node policy read or write"
AGENT = "the agent policy read or write"
REGISTER = "in any namespace, or the node policy write"

DENIED: list[tuple[str, str, Any, str]] = [
    (
        *("GET", "/v1/plugins?type=csi", None),
        'the capability csi-list-plugin in namespace "default", or the plugin policy list or read',
    ),
    (
        *("GET", "/v1/plugins?type=exec&namespace=apps", None),
        'the capability exec-list-plugin in namespace "apps", or the plugin policy list or read',
    ),
    (
        *("GET", "/v1/plugins?type=csi&namespace=*", None),
        "the capability csi-list-plugin in any namespace, or the plugin policy list or read",
    ),
    (
        *("GET", "/v1/plugins?type=nothing", None),
        'the capability TYPE-list-plugin in namespace "default", or the plugin policy list or read',
    ),
    (
        *("GET", "/v1/plugin/csi/ebs0", None),
        'the capability csi-read-plugin in namespace "default", or the plugin policy read',
    ),
    (
        *("GET", "/v1/plugin/csi/ebs0?namespace=%1B%5B31m%22%E2%80%AE", None),
        'the capability csi-read-plugin in namespace "\\u001b[31m\\"\\u202e", '
        "or the plugin policy read",
    ),
    ("DELETE", "/v1/plugin/csi/ebs0", None, MANAGING),
    (
        *("GET", "/v1/plugin-types", None),
        "the capability TYPE-list-plugin or TYPE-read-plugin of any type in any namespace, "
        f"the plugin policy list or read, or {NODES}",
    ),
    ("GET", "/v1/nodes", None, NODES),
    ("GET", NODE, None, NODES),
    ("GET", f"{NODE}/allocations", None, NODES),
    ("PUT", NODE, {"Name": "vm1"}, f"the capability TYPE-register-plugin {REGISTER}"),
    ("DELETE", NODE, None, "the node's secret, or a management token"),
    ("DELETE", f"{NODE}/secret", None, MANAGING),
    (
        *("PUT", "/v1/search", {"Context": "nodes"}),
        'the capability TYPE-list-plugin of any type in namespace "default", '
        f"or the plugin policy list or read, or to find nodes and allocations {NODES}",
    ),
    ("GET", "/v1/acl/policies", None, "any valid token"),
    ("GET", "/v1/acl/policy/x", None, "a token that has the policy, or a management token"),
    ("GET", "/v1/agent/members", None, NODES),
    ("GET", "/v1/agent/self", None, AGENT),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return gate(tmp_path_factory.mktemp("acl"), "csi-list", "csi-register")


@pytest.fixture(scope="module")
def api(store: str, tmp_path_factory: pytest.TempPathFactory, made: Gate) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data"), live=True, config=made.config) as served:
        yield served


@pytest.mark.parametrize(("method", "path", "body", "words"), DENIED)
def test_the_missing_right_is_named(
    api: Api, method: str, path: str, body: Any, words: str
) -> None:
    answer = api.call(method, path, body)
    assert (answer.status, answer.text) == (403, f"Permission denied: it needs {words}")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    text = _as_text(_explained(api.services.acl, api.services.registry, method, path, None))
    assert text.endswith(f" needs: {words}.")


def test_what_the_body_asks_for_is_named(api: Api, made: Gate) -> None:
    secret = {"X-Plugind-Node-Secret": SECRET}
    reports = {"Name": "vm1", "Plugins": {"exec": {}, "nothing": {}}}
    answer = api.call("PUT", NODE, reports, {**made.headers("csi-register"), **secret})
    words = f"the capability exec-register-plugin {REGISTER}"
    assert (answer.status, answer.text) == (403, f"Permission denied: it needs {words}")
    answer = api.call("PUT", "/v1/search", {"Context": "nodes"}, made.headers("csi-list"))
    assert (answer.status, answer.text) == (403, f"Permission denied: it needs {NODES}")
