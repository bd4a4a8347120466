"""Every endpoint with every kind of caller, and other tests of access control."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugind.acl import Acl
from plugind.api import TABLE
from plugind.api.endpoints import no_token
from plugind.cli.acl_explain import PATHS, _explained
from plugind.serve.application import create_app
from plugind.serve.services import Services
from plugind.types.configured import load_settings
from tests.api.gate import (
    EVERYBODY,
    EXPIRED,
    MANAGEMENT,
    NOBODY,
    NODE,
    REQUESTS,
    UNKNOWN,
    Gate,
    Request,
    gate,
)
from tests.support import SECRET, Answer, Api, FakeAgent, InProcess, serving, up

LIST = "/v1/plugins?type=csi"
OF_NODE = {"X-Plugind-Node-Secret": SECRET}


@pytest.fixture
def made(tmp_path: Path) -> Gate:
    """Return the few callers that most tests use."""
    return gate(
        tmp_path,
        *("csi-list", "csi-register", "node-read", "node-write", "denied node", "of no policy"),
    )


@pytest.fixture(params=["in-process", "live"])
def api(request: pytest.FixtureRequest, tmp_path: Path, made: Gate) -> Iterator[Api]:
    with serving(tmp_path, live=request.param == "live", config=made.config) as served:
        fill(served, made.secrets[MANAGEMENT])
        yield served


def fill(api: Api, token: str) -> FakeAgent:
    agent = FakeAgent(api, NODE.rpartition("/")[2], token=token)
    answer = agent.report({"ebs0": {"node": up()}})
    assert answer.status == 200, answer.text
    return agent


def ask(api: Api, request: Request, headers: dict[str, str]) -> Answer:
    secret = OF_NODE if request.method == "PUT" else {}
    return api.call(request.method, request.path, request.body, {**headers, **secret})


def test_every_endpoint_stands_in_the_table_of_this_test() -> None:
    found = {id(PATHS.match(each.method, each.path.partition("?")[0])[0]) for each in REQUESTS}
    assert found == {id(endpoint) for endpoint in TABLE}


@pytest.mark.parametrize("anonymous", [False, True])
def test_every_request_with_every_caller(tmp_path: Path, anonymous: bool) -> None:
    """Check that each caller has exactly the rights of the table.

    With a policy for callers without a token, these may do what a token with that policy may,
    except read their own token; all other rights stay the same.
    """
    more = {"anonymous": 'namespace "default" { capabilities = ["csi-list-plugin"] }'}
    made = gate(tmp_path, **(more if anonymous else {}))
    wrong = []
    with serving(tmp_path, live=False, config=made.config) as api:
        for request in REQUESTS:
            fill(api, made.secrets[MANAGEMENT])
            for name in sorted(EVERYBODY):
                as_client = anonymous and name == NOBODY and "/acl/" not in request.path
                wanted = expected(request, "csi-list" if as_client else name)
                got = ask(api, request, made.headers(name))
                text = got.text if got.status == 403 and request.method != "HEAD" else wanted[1]
                if (got.status, text.partition(": it needs ")[0]) != wanted:
                    wrong.append((request.method, request.path, name, got.status, wanted))
                wrong += explained(api, made, request, name, allowed=got.status != 403)
    assert not wrong


class Watched(Services):
    """Services that count how often policies and tokens are looked up."""

    looks = 0

    @property
    def acl(self) -> Acl:
        self.looks += 1
        return self._acl

    @acl.setter
    def acl(self, acl: Acl) -> None:
        self._acl = acl


def test_a_request_looks_up_policies_and_tokens_once(tmp_path: Path, made: Gate) -> None:
    """Look them up once: a second lookup after a reload would mix two sets in one answer."""
    (tmp_path / "config.hcl").write_text(made.config)
    flags = {"data_dir": str(tmp_path), "server_enabled": "true"}
    settings, registry = load_settings([tmp_path / "config.hcl"], flags, None)
    services = Watched(settings, registry, tmp_path)
    try:
        api = InProcess(services, create_app(services, "127.0.0.1:4646"))
        fill(api, made.secrets[MANAGEMENT])
        for request in REQUESTS:
            services.looks = 0
            ask(api, request, made.headers(MANAGEMENT))
            assert services.looks == 1, request
    finally:
        services.close()


def expected(request: Request, name: str) -> tuple[int, str]:
    if name in request.allowed:
        return request.status, ""
    return 403, "ACL token not found" if name in (UNKNOWN, EXPIRED) else "Permission denied"


def explained(
    api: Api, made: Gate, request: Request, name: str, *, allowed: bool
) -> list[tuple[Any, ...]]:
    """Return the decision of ``plugind acl explain`` if it differs from the server's answer."""
    if request.in_body or name == UNKNOWN or (name == EXPIRED and EXPIRED in request.allowed):
        return []
    services = api.services
    explanation = _explained(
        services.acl, services.registry, request.method, request.path, made.accessors.get(name)
    )
    if explanation.decision.allowed == allowed:
        return []
    return [("explain", request.method, request.path, name, explanation.decision)]


def test_the_table_says_which_rights_the_body_decides() -> None:
    later = {(each.method, each.path) for each in TABLE if each.decided_later}
    found = [PATHS.match(each.method, each.path)[0] for each in REQUESTS if each.in_body]
    assert {(each.method, each.path) for each in found} == later


def test_with_acls_off_everybody_may_do_everything(tmp_path: Path) -> None:
    with serving(tmp_path, live=False) as api:
        fill(api, "")
        for request in REQUESTS:
            for headers in ({}, {"X-Nomad-Token": "unknown"}):
                wanted = 400 if "/acl/" in request.path else request.status
                assert ask(api, request, headers).status == wanted, request


def test_a_token_may_come_in_either_header(api: Api, made: Gate) -> None:
    secret, other = made.secrets["csi-list"], made.secrets["node-read"]
    cases: list[tuple[dict[str, str], int]] = [
        ({"X-Nomad-Token": secret}, 200),
        ({"x-nomad-token": f"  {secret} "}, 200),
        ({"Authorization": f"Bearer {secret}"}, 200),
        ({"Authorization": f"bEARER   {secret} "}, 200),
        ({"Authorization": f"Basic {secret}"}, 403),
        ({"Authorization": secret}, 403),
        ({"Authorization": "Bearer"}, 403),
        ({"X-Nomad-Token": secret, "Authorization": f"Bearer {other}"}, 200),
        ({"X-Nomad-Token": other, "Authorization": f"Bearer {secret}"}, 403),
        ({"X-Nomad-Token": "x", "Authorization": f"Bearer {secret}"}, 403),
        ({"X-Nomad-Token": "", "Authorization": f"Bearer {secret}"}, 200),
        ({"X-Nomad-Token": "  ", "Authorization": f"Bearer {secret}"}, 200),
        ({"X-Nomad-Token": secret.upper()}, 403),
        ({"X-Nomad-Token": secret[:-1]}, 403),
    ]
    for headers, status in cases:
        assert api.call("GET", LIST, headers=headers).status == status, headers


def test_headers_that_count_as_no_token(api: Api) -> None:
    """Treat such requests as sent without a token, with no error about a token."""
    for headers in (
        {"X-Nomad-Token": ""},
        {"X-Nomad-Token": "   "},
        {"Authorization": "Bearer   "},
        {"Authorization": "Basic dXNlcjpodW50ZXIy"},
        {"Authorization": ""},
    ):
        text = api.call("GET", LIST, headers=headers).text
        assert text.startswith("Permission denied: it needs the capability csi-list-plugin"), (
            headers
        )
        assert api.call("GET", "/v1/plugins", headers=headers).status == 200


def test_a_token_in_the_query_is_none(api: Api, made: Gate) -> None:
    assert api.call("GET", f"{LIST}&token={made.secrets[MANAGEMENT]}").status == 403


def test_endpoints_without_tokens_ignore_tokens(api: Api) -> None:
    open_to_all = [endpoint.path for endpoint in TABLE if endpoint.need is no_token]
    assert "/v1/agent/health" in open_to_all
    for path in open_to_all:
        assert api.call("GET", path, headers={"X-Nomad-Token": "unknown"}).status == 200


def test_types_that_a_token_may_not_report_are_rejected(api: Api, made: Gate) -> None:
    body = {
        "Name": "vm1",
        "Plugins": {"csi": {"new": {"node": up()}}, "exec": {"disk": {"check": up()}}, "no": {}},
    }
    manage = made.headers(MANAGEMENT)
    answer = api.call("PUT", NODE, body, {**OF_NODE, **made.headers("csi-register")})
    assert answer.status == 200
    assert {(each["Type"], each["Field"]) for each in answer.json["Rejected"]} >= {("exec", "Type")}
    assert api.call("GET", "/v1/plugin/csi/new", headers=manage).status == 200
    assert api.call("GET", "/v1/plugin/exec/disk", headers=manage).status == 404
    del body["Plugins"]["csi"]
    refused = api.call("PUT", NODE, body, {**OF_NODE, **made.headers("csi-register")})
    assert (refused.status, refused.text) == (
        403,
        "Permission denied: it needs the capability exec-register-plugin in any namespace, "
        "or the node policy write",
    )
    whole = api.call("PUT", NODE, body, {**OF_NODE, **made.headers("node-write")})
    assert [each["Type"] for each in whole.json["Rejected"]] == ["no"]


@pytest.mark.parametrize("name", [NOBODY, "of no policy", "denied node", MANAGEMENT])
def test_a_node_leaves_by_its_secret_with_any_token(api: Api, made: Gate, name: str) -> None:
    wrong = api.call("DELETE", NODE, headers={**made.headers("csi-list"), **other_secret()})
    assert wrong.status == 403
    left = api.call("DELETE", NODE, headers={**made.headers(name), **OF_NODE})
    assert left.status == 200, left.text


def test_a_wrong_secret_reveals_no_node(api: Api, made: Gate) -> None:
    there, gone = NODE, NODE.replace("2f8d", "0000")
    for name in (NOBODY, "of no policy", "csi-list"):
        headers = {**made.headers(name), **other_secret()}
        answers = {
            (a.status, a.body) for a in (_delete(api, path, headers) for path in (there, gone))
        }
        words = b"Permission denied: it needs the node's secret, or a management token"
        assert answers == {(403, words)}
    headers = {**made.headers("csi-register"), **other_secret()}
    assert _delete(api, gone, headers).status == 404, "who may report may know"
    assert "the node's secret is another" in _delete(api, there, headers).text


def _delete(api: Api, path: str, headers: dict[str, str]) -> Answer:
    return api.call("DELETE", path, headers=headers)


def test_stored_instances_of_a_type_that_the_token_may_not_report_say_so(
    api: Api, made: Gate
) -> None:
    body = {"Name": "vm1", "Plugins": {"csi": {}, "exec": {"disk": {"check": up()}}}}
    manage, lesser = made.headers(MANAGEMENT), made.headers("csi-register")
    assert api.call("PUT", NODE, body, {**OF_NODE, **manage}).status == 200

    def shown() -> tuple[Any, ...]:
        read = api.call("GET", "/v1/plugin/exec/disk", headers=manage)
        (one,) = read.json["Checks"].values()
        return read.index, one["Healthy"], one["HealthDescription"]

    assert shown()[1]
    first = api.call("PUT", NODE, body, {**OF_NODE, **lesser})
    assert [each["Field"] for each in first.json["Rejected"]] == ["Type"]
    before = shown()
    assert before[1:] == (
        False,
        "the agent's report of it was rejected: the token may not register plugins of this type",
    )
    assert api.call("PUT", NODE, body, {**OF_NODE, **lesser}).status == 200
    assert shown() == before, "the same again is no news"
    assert api.call("PUT", NODE, body, {**OF_NODE, **manage}).status == 200
    assert shown()[1]


def test_a_nodes_secret_helps_no_wrong_token(api: Api, made: Gate) -> None:
    for name in (UNKNOWN, EXPIRED):
        answer = api.call("DELETE", NODE, headers={**made.headers(name), **OF_NODE})
        assert (answer.status, answer.text) == (403, "ACL token not found")


def test_after_an_unpin_no_secret_forgets_the_node(api: Api, made: Gate) -> None:
    manage, register = made.headers(MANAGEMENT), made.headers("csi-register")
    assert api.call("DELETE", f"{NODE}/secret", headers=OF_NODE).status == 403
    assert api.call("DELETE", f"{NODE}/secret", headers=manage).status == 200
    for secret in (OF_NODE, other_secret(), {"X-Plugind-Node-Secret": ""}):
        assert api.call("DELETE", NODE, headers={**register, **secret}).status == 403
    body = {"Name": "vm1", "Plugins": {"csi": {}}}
    assert api.call("PUT", NODE, body, {**register, **other_secret()}).status == 200
    assert api.call("PUT", NODE, body, {**register, **OF_NODE}).status == 403, "pinned again"
    assert api.call("DELETE", NODE, headers={**register, **OF_NODE}).status == 403
    assert api.call("DELETE", NODE, headers=other_secret()).status == 200


def test_no_answer_reveals_whether_something_exists(api: Api, made: Gate) -> None:
    """Give callers without rights the same answer for existing and missing resources."""
    for there, gone in (
        ("/v1/plugin/csi/ebs0", "/v1/plugin/csi/none"),
        (NODE, NODE.replace("2f8d", "0000")),
        ("/v1/acl/policy/csi-list", "/v1/acl/policy/none"),
    ):
        for name in (NOBODY, "of no policy", UNKNOWN):
            one, two = (api.call("GET", path, headers=made.headers(name)) for path in (there, gone))
            assert (one.status, one.body) == (two.status, two.body)
            assert one.status == 403
            assert "etag" not in one.headers
            assert "x-nomad-index" not in one.headers


def other_secret() -> dict[str, str]:
    return {"X-Plugind-Node-Secret": "another"}
