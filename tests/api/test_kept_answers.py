"""Keeping answers is invisible: after any steps, each answer is as if it were newly made."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from plugind.api.forms import PACKED_MINIMUM
from plugind.catalogue.views import Views
from tests.api.gate import MANAGEMENT, gate
from tests.support import Answer, Api, FakeAgent, down, serving, up

NODES = ["2f8d0c5e-6f7b-4e0a-9a53-1f6f4f0c8a11", "3f8d0c5e-6f7b-4e0a-9a53-1f6f4f0c8a11"]
READERS = [MANAGEMENT, "plugin-read", "node-read", "csi-read", "exec-read"]

PATHS = st.sampled_from(
    [
        "/v1/plugins?type=csi",
        "/v1/plugins?type=exec",
        "/v1/plugin/csi/a?",
        "/v1/plugin/csi/b?",
        "/v1/nodes?",
        "/v1/nodes?os=true",
        "/v1/nodes?resources=true",
        f"/v1/node/{NODES[0]}?",
        f"/v1/node/{NODES[0]}/allocations?",
        "/v1/allocations?",
        "/v1/acl/tokens?",
        "/v1/acl/policies?",
    ]
)
PARAMETERS = st.lists(
    st.sampled_from(
        [
            "prefix=a",
            "prefix=2f",
            "per_page=1",
            "reverse",
            "next_token=b",
            "pretty",
            f"filter={quote('ID != a')}",
            f"filter={quote('NodesHealthy < NodesExpected')}",
            f"filter={quote('CSINodePlugins is not empty')}",
            f"filter={quote('Name == vm1')}",
        ]
    ),
    max_size=3,
    unique=True,
)
READS = st.tuples(PATHS, PARAMETERS, st.booleans(), st.sampled_from(READERS))
FINGERPRINTS = st.sampled_from(
    [None, up(), down(), up(Provider="ebs"), up(AllocID="11111111-2222-4333-8444-555555555555")]
)
REPORTS = st.tuples(
    st.integers(0, 1),
    st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.just("node"), FINGERPRINTS)),
)
STEPS = st.lists(st.one_of(READS, REPORTS), min_size=5, max_size=40)


class World:
    """A server with tokens, which gives each answer twice: kept, and newly made."""

    def __init__(self, api: Api, headers: dict[str, dict[str, str]]) -> None:
        self.api = api
        self.headers = headers
        token = headers[MANAGEMENT]["X-Nomad-Token"]
        self.agents = [
            FakeAgent(api, node, name=f"vm{n}", token=token) for n, node in enumerate(NODES)
        ]

    def report(self, node: int, plugins: dict[str, Any]) -> None:
        assert self.agents[node].report(plugins).status == 200

    def check(self, path: str, parameters: list[str], packed: bool, reader: str) -> None:
        path = "&".join([path, *parameters])
        headers = self.headers[reader] | ({"Accept-Encoding": "gzip"} if packed else {})
        kept = [self.api.call("GET", path, headers=headers) for _ in range(2)]
        catalogue = self.api.services.catalogue
        views, catalogue.views = catalogue.views, Views(0)
        new = self.api.call("GET", path, headers=headers)
        catalogue.views = views
        assert _without_age(kept[0]) == _without_age(kept[1]) == _without_age(new)
        if new.status == 200:
            _check_form(new, packed, "pretty" in parameters)


def _without_age(answer: Answer) -> Answer:
    """Return an answer without the time since the store was last heard, which is never kept."""
    headers = {k: v for k, v in answer.headers.items() if k != "x-nomad-lastcontact"}
    return replace(answer, headers=headers)


def _check_form(answer: Answer, packed: bool, pretty: bool) -> None:
    is_packed = "content-encoding" in answer.headers
    body = gzip.decompress(answer.body) if is_packed else answer.body
    assert is_packed is (packed and len(body) >= PACKED_MINIMUM)
    assert body.endswith(b"\n") is pretty
    value = json.loads(body)
    if pretty:
        assert body == json.dumps(value, indent=4, ensure_ascii=False).encode() + b"\n"


@contextmanager
def world() -> Iterator[World]:
    """Serve in a folder that is removed at the end."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        made = gate(folder, *[name for name in READERS if name != MANAGEMENT])
        with serving(folder, live=False, config=made.config) as api:
            yield World(api, {name: made.headers(name) for name in READERS})


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_an_answer_that_is_kept_is_the_one_that_would_be_made(steps: list[Any]) -> None:
    with world() as made:
        made.report(0, {"a": {"node": up()}, "b": {"node": down()}})
        for step in steps:
            made.report(*step) if len(step) == 2 else made.check(*step)


def test_answers_of_one_resource_are_kept_apart() -> None:
    """Keep answers with other columns, of another path or for other rights apart."""
    with world() as made:
        made.report(0, {"a": {"node": up()}})
        node = f"/v1/node/{NODES[0]}"
        paths = ["/v1/nodes?", "/v1/nodes?os=true", "/v1/nodes?resources=true", "/v1/allocations?"]
        for path in [*paths, f"{node}?", f"{node}/allocations?"]:
            for reader in (MANAGEMENT, "csi-read", "exec-read"):
                for parameters in ([], ["pretty"], ["reverse"]):
                    for packed in (False, True):
                        made.check(path, parameters, packed, reader)
