"""``plugind acl explain`` predicts what a server does, and names the rule that decides."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from plugind.acl.tokens import block, draw
from plugind.cli.acl_explain import PATHS, explain
from plugind.errors import MethodNotAllowed, NotFound
from tests.api.fuzzing import acl_config
from tests.support import serving

NODE = "/v1/node/2f8d0c5e-6f7b-4e0a-9a53-1f6f4f0c8a11"
REQUESTS = [
    ("GET", "/v1/plugins?type=csi"),
    ("GET", "/v1/plugins?type=csi&namespace=other"),
    ("GET", "/v1/plugins?type=csi&namespace=*"),
    ("GET", "/v1/plugins"),
    ("GET", "/v1/plugins?type=&type=csi"),
    ("GET", "/v1/plugin/csi/ebs0"),
    ("GET", "/v1/plugin/nothing/ebs0?namespace=default"),
    ("DELETE", "/v1/plugin/csi/ebs0"),
    ("GET", "/v1/nodes"),
    ("PUT", NODE),
    ("PUT", f"{NODE}/heartbeat?namespace=x"),
    ("DELETE", NODE),
    ("DELETE", f"{NODE}/secret"),
    ("GET", "/v1/agent/health"),
    ("GET", "/v1/plugin-types"),
]


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, str]:
    """Return the tokens' secrets by name; config.hcl in the folder has ACLs on."""
    config, secrets = acl_config(tmp_path)
    (tmp_path / "config.hcl").write_text(f'data_dir = "{tmp_path}"\n{config}')
    return secrets


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(explain, [*words, "--config", str(folder / "config.hcl")])


def accessor_of(folder: Path, name: str) -> str:
    text = (folder / "tokens.hcl").read_text()
    return text.partition(f'token "{name}"')[2].split('"')[1]


def test_it_says_what_a_server_does(tmp_path: Path, secrets: dict[str, str]) -> None:
    config = (tmp_path / "config.hcl").read_text()
    asked = {name: ["--accessor", accessor_of(tmp_path, name)] for name in secrets}
    with serving(tmp_path, live=False, config=config) as api:
        for (method, path), name in product(REQUESTS, ["", *secrets]):
            headers = {"X-Nomad-Token": secrets[name]} if name else {}
            status = api.call(method, path, headers=headers).status
            explained = run(tmp_path, method, path, *(asked[name] if name else []))
            assert explained.exit_code == (status == 403), (method, path, name, explained.output)


@pytest.mark.parametrize(
    ("name", "path", "said"),
    [
        ("reader", "/v1/nodes", "Allowed by node in {}/policies/reader.hcl:2."),
        ("lister", "/v1/plugin/csi/a", 'the closest is namespace "default" in {}/policies/lister'),
        ("management", "/v1/nodes", "Allowed: a management token may do everything."),
        ("lister", "/v1/nodes", "Denied: no rule allows it."),
        ("lister", "/v1/agent/health", "Allowed: no rule is needed."),
        ("", "/v1/nodes", "Denied: no token, and no policy anonymous."),
    ],
)
def test_it_names_the_rule(
    tmp_path: Path, secrets: dict[str, str], name: str, path: str, said: str
) -> None:
    asked = ["--accessor", accessor_of(tmp_path, name)] if name else []
    lines = run(tmp_path, "GET", path, *asked).output.splitlines()
    assert said.format(tmp_path) in lines[0]
    assert lines[1].startswith("GET /v1/")
    assert len(lines) == 2


def test_rights_that_only_the_body_decides_are_named(
    tmp_path: Path, secrets: dict[str, str]
) -> None:
    asked = ["--accessor", accessor_of(tmp_path, "lister")]
    explained = run(tmp_path, "PUT", "/v1/search", *asked)
    assert explained.exit_code == 0
    assert "need the right to list the Context" in explained.output.splitlines()[2]


def test_the_denying_rule_is_named(tmp_path: Path, secrets: dict[str, str]) -> None:
    (tmp_path / "policies/anonymous.hcl").write_text('# nobody\n\nplugin { policy = "deny" }')
    explained = run(tmp_path, "GET", "/v1/plugins?type=csi")
    assert explained.exit_code == 1
    assert explained.output.startswith(
        f"Denied by plugin in {tmp_path}/policies/anonymous.hcl:3.\n"
    )


def test_json_for_programs(tmp_path: Path, secrets: dict[str, str]) -> None:
    explained = run(
        tmp_path, "get", "/v1/nodes", "--json", "--accessor", accessor_of(tmp_path, "reader")
    )
    assert explained.exit_code == 0
    assert json.loads(explained.output) == {
        "Allowed": True,
        "Caller": "reader",
        "DecidedLater": "",
        "Effect": "allow",
        "Endpoint": "GET /v1/nodes",
        "File": f"{tmp_path}/policies/reader.hcl",
        "Line": 2,
        "Needs": "The `node` policy `read` or `write`.",
        "Policy": "reader",
        "Rule": "node",
        "Why": "",
    }


def test_an_expired_token_is_denied(tmp_path: Path, secrets: dict[str, str]) -> None:
    _, token = draw("old", "client", ["reader"], 1_000_000_000)
    with (tmp_path / "tokens.hcl").open("a") as file:
        file.write(block(token))
    explained = run(tmp_path, "GET", "/v1/nodes", "--accessor", token.caller.accessor)
    assert explained.exit_code == 1
    assert explained.output.startswith("Denied: the token expired at 1970-01-01T00:00:01Z.\n")


def test_with_acls_off_all_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "config.hcl").write_text("")
    explained = run(tmp_path, "DELETE", NODE)
    assert (explained.exit_code, explained.output.splitlines()[0]) == (0, "Allowed: ACLs are off.")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["GET", "/v1/nothing"], "there is no path /v1/nothing"),
        (["GET", "/v1/nodes/"], "there is no path /v1/nodes/"),
        (["POST", "/v1/plugin/csi/a"], "has no method POST; it has: DELETE, GET, HEAD"),
        (["GET", "/v1/nodes", "--accessor", "x"], "no token has the accessor x"),
        (["GET"], "Missing argument 'PATH'"),
    ],
)
def test_mistakes(tmp_path: Path, secrets: dict[str, str], words: list[str], said: str) -> None:
    explained = run(tmp_path, *words)
    assert (explained.exit_code, said in explained.output) == (2, True), explained.output


def test_mistakes_in_files_are_reported_with_their_lines(
    tmp_path: Path, secrets: dict[str, str]
) -> None:
    (tmp_path / "policies/reader.hcl").write_text('nod { policy = "read" }')
    explained = run(tmp_path, "GET", "/v1/nodes")
    assert explained.exit_code == 2
    assert f"{tmp_path}/policies/reader.hcl:1:1" in explained.output


@pytest.mark.parametrize(
    "path", ["/v1//nodes", "//v1/nodes", "/v1/plugin/csi/", "/v1/plugin/a/b/c"]
)
def test_paths_are_found_as_a_server_finds_them(tmp_path: Path, path: str) -> None:
    with serving(tmp_path, live=True) as api:
        assert api.call("GET", path).status == 404
    with pytest.raises(NotFound):
        PATHS.match("GET", path)


def test_methods_are_those_of_a_server() -> None:
    endpoint, parts = PATHS.match("HEAD", "/v1/plugin/csi/ebs0")
    assert (endpoint.method, parts) == ("GET", {"type_": "csi", "id_": "ebs0"})
    with pytest.raises(MethodNotAllowed):
        PATHS.match("OPTIONS", "/v1/nodes")
