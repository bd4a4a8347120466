"""Random requests made from the OpenAPI document, and the checks that every answer must pass."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi import checks

from plugind.acl.tokens import block, draw
from tests.support import SECRET, Api, FakeAgent, down, up

DECLARED = """
plugin "csi" "declared" {
  controllers_expected = 3
  nodes_expected       = 16
}
"""
POLICIES = {
    "reader": 'plugin { policy = "read" }\nnode { policy = "read" }',
    "lister": 'namespace "default" { capabilities = ["csi-list-plugin"] }',
    "agent": 'namespace "*" { capabilities = ["csi-register-plugin"] }',
}
ACCESSOR = "3fd1f7a1-0c7a-4c1c-8d5c-7d9d9f2ac003"
ALLOCATION = "5dd1f7a1-0c7a-4c1c-8d5c-7d9d9f2ac001"
NODE_ID = "2f8d0c5e-6f7b-4e0a-9a53-1f6f4f0c8a11"
FILTERS = ["ID matches `^e`", "ModifyIndex > 1", "any(Drivers, x != 1)", "ID == ", "("]

_CONFORMS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
_OFTEN = settings(
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


def acl_config(folder: Path) -> tuple[str, dict[str, str]]:
    """Write policies and tokens to ``folder``; return the configuration and the secrets by name."""
    (folder / "policies").mkdir()
    for name, text in POLICIES.items():
        (folder / "policies" / f"{name}.hcl").write_text(text)
    drawn = {name: draw(name, "client", [name], None) for name in POLICIES}
    secret, token = draw("management", "management", [], None)
    drawn["management"] = secret, replace(token, caller=replace(token.caller, accessor=ACCESSOR))
    (folder / "tokens.hcl").write_text("".join(block(token) for _, token in drawn.values()))
    config = (
        "acl {\n  enabled = true\n"
        f'  policies = "{folder}/policies"\n  tokens = "{folder}/tokens.hcl"\n}}\n'
    )
    return config, {name: secret for name, (secret, _) in drawn.items()}


def strict(document: Any) -> Any:
    """Return the document, changed to allow nothing in an answer that it does not name."""
    made = copy.deepcopy(document)
    for schema in made["components"]["schemas"].values():
        schema.setdefault("additionalProperties", False)
    return made


@dataclass
class Asker:
    """Send requests to a live server with one token ("" for none), and count the answers.

    ``deputy`` is the token with which the catalogue is refilled after requests have emptied it.
    """

    api: Any
    token: str = ""
    deputy: str = ""
    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.agent = FakeAgent(As(self.api, self.deputy), NODE_ID)

    @property
    def count(self) -> int:
        return sum(counter.total() for counter in self.statuses.values())

    def document(self) -> Any:
        return self.api.call("GET", "/v1/openapi.json").json

    def fill(self) -> None:
        """Report the node and its plugin, healthy and unhealthy, unless they exist."""
        if self.agent.beat().status != 200:
            plugins = {"ebs0": {"controller": up(AllocID=ALLOCATION), "node": down()}}
            about = {"Name": "ebs.ebs[7]", "JobID": "ebs", "TaskGroup": "ebs", "CreateTime": 7}
            report = self.agent.report(plugins, Allocations={ALLOCATION: about})
            assert report.status == 200

    def ask(self, case: Case, *, aimed: bool) -> int:
        """Send a request, check the whole answer, and return its status."""
        if aimed:
            self.fill()
        if aimed and isinstance(case.body, dict) and "Digest" in case.body:
            case.body["Digest"] = self.agent.digest
        headers = {"X-Nomad-Token": self.token} if self.token else {}
        answer = case.call(base_url=self.api.address, session=self.session, headers=headers)
        self.statuses.setdefault(case.operation.label, Counter())[answer.status_code] += 1
        case.validate_response(answer, checks=_CONFORMS)
        check_tone(answer.status_code, answer.content)
        if answer.status_code == 500:
            assert case.query == {**case.query, "type": "client"}, "no agent runs in this process"
            assert case.operation.path == "/v1/agent/health"
        return int(answer.status_code)


def fuzz(askers: Iterable[Asker], examples: int, *, derandomize: bool, document: Any) -> None:
    """Call each operation ``examples`` times per asker, with valid and with invalid requests."""
    everybody = tuple(askers)
    for path in list(document["paths"].values()):
        for method in [each for each, one in path.items() if _is_endless(one)]:
            del path[method]
    schema = schemathesis.openapi.from_dict(strict(document))
    often = settings(_OFTEN, max_examples=examples, derandomize=derandomize)
    with ExitStack() as until_end:
        for asker in everybody:
            until_end.enter_context(asker.session)
        for operation in schema.get_all_operations():
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                _fuzz(everybody, operation.ok(), mode, often)


def _is_endless(operation: Any) -> bool:
    """Return whether an answer is a stream, which ends only when its client leaves."""
    return "text/event-stream" in operation["responses"]["200"]["content"]


def _fuzz(askers: Sequence[Asker], operation: Any, mode: GenerationMode, often: settings) -> None:
    @often
    @given(
        case=operation.as_strategy(generation_mode=mode),
        aimed=st.booleans(),
        filter=st.sampled_from(FILTERS),
    )
    def ask(case: Case, aimed: bool, filter: str) -> None:
        if case.query and "index" in case.query:
            case.query["wait"] = "5ms"  # no test waits for minutes
        if aimed:
            aim(case, filter)
        for asker in askers:
            status = asker.ask(case, aimed=aimed)
            if case.method == "PUT" and mode is GenerationMode.POSITIVE:
                assert status != 400, "the document allows this request"

    ask()


def aim(case: Case, filter: str) -> None:
    """Make a request address existing objects, because random names rarely match any."""
    known = {
        "type": "csi",
        "id": "ebs0",
        "node_id": NODE_ID,
        "alloc_id": ALLOCATION,
        "accessor": ACCESSOR,
        "namespace": "default",
    }
    given = case.path_parameters or {}
    case.path_parameters = {name: known.get(name, given[name]) for name in given}
    if case.headers and "X-Plugind-Node-Secret" in case.headers:
        case.headers["X-Plugind-Node-Secret"] = SECRET
    if case.query:
        case.query.pop("region", None)
        if "filter" in case.query:
            case.query["filter"] = filter


def check_tone(status: int, body: bytes) -> None:
    """Fail if an error is longer than one line or reveals internals."""
    assert b"Traceback" not in body
    assert b"<html" not in body.lower()
    if status >= 400 and not body.startswith((b"{", b"[")):
        assert 0 < len(body.splitlines()) <= 1, body
        assert len(body) < 2_000, body


@dataclass
class As:
    """The API, called with a token."""

    api: Api
    token: str

    @property
    def services(self) -> Any:
        return self.api.services

    def call(self, method: str, path: str, body: Any = None, headers: Any = None) -> Any:
        return self.api.call(method, path, body, {**(headers or {}), "X-Nomad-Token": self.token})
