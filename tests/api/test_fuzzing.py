"""Every answer to any request matches the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from schemathesis.core.failures import FailureGroup

from plugind.api import TABLE
from plugind.api.endpoints import no_token
from tests.api.fuzzing import DECLARED, Asker, acl_config, check_tone, fuzz
from tests.support import serving

OPEN = {f"{each.method} {each.path}" for each in TABLE if each.need is no_token}

EMPTY_HANDED = {"GET /v1/plugins", "GET /v1/namespaces"}
"""Operations that answer callers without rights with empty lists."""

BY_SECRET = {"DELETE /v1/node/{node_id}"}
"""Operations that the node's own secret also allows."""


@pytest.fixture
def askers(tmp_path: Path) -> Iterator[dict[str, Asker]]:
    """Yield the askers by name: with ACLs off, without a token, and with each of the tokens."""
    (tmp_path / "off").mkdir()
    (tmp_path / "on").mkdir()
    config, secrets = acl_config(tmp_path)
    with ExitStack() as until_end:
        off = until_end.enter_context(serving(tmp_path / "off", live=True, config=DECLARED))
        on = until_end.enter_context(serving(tmp_path / "on", live=True, config=DECLARED + config))
        with_token = {
            name: Asker(on, secret, secrets["management"]) for name, secret in secrets.items()
        }
        nobody = Asker(on, "", secrets["management"])
        yield {"acls off": Asker(off), "nobody": nobody, **with_token}


def check(askers: dict[str, Asker]) -> None:
    """Fail unless the requests reached every operation that they should reach."""
    everything = [askers[name].statuses for name in ("acls off", "management")]
    for label in everything[0]:
        assert any(statuses[label][200] for statuses in everything), f"nothing came of {label}"
    for label, statuses in askers["management"].statuses.items():
        assert not statuses[403] or not label.startswith("GET"), f"management may not {label}"
    for label, statuses in askers["nobody"].statuses.items():
        answered = any(status < 400 for status in statuses)
        assert not answered or label in OPEN | EMPTY_HANDED | BY_SECRET, f"nobody may {label}"
        assert statuses[403] or label in OPEN | EMPTY_HANDED, f"nobody was refused {label}"


def test_a_few_random_requests(askers: dict[str, Asker]) -> None:
    asking = [askers[name] for name in ("acls off", "nobody", "management")]
    fuzz(asking, 5, derandomize=True, document=asking[0].document())
    assert sum(asker.count for asker in asking) >= 300


@pytest.mark.soak
def test_many_random_requests(askers: dict[str, Asker]) -> None:
    fuzz(askers.values(), 60, derandomize=False, document=askers["nobody"].document())
    check(askers)
    assert sum(asker.count for asker in askers.values()) >= 5_000


def row_of(document: Any) -> Any:
    """Return the document's schema for a node in the list."""
    answer = document["paths"]["/v1/nodes"]["get"]["responses"]["200"]
    ref = answer["content"]["application/json"]["schema"]["items"]["$ref"]
    return document["components"]["schemas"][ref.rpartition("/")[2]]


def untold_status(document: Any) -> None:
    del document["paths"]["/v1/nodes"]["get"]["responses"]["400"]


def untold_field(document: Any) -> None:
    row = row_of(document)
    del row["properties"]["NodePool"]
    row["required"].remove("NodePool")


def untold_type(document: Any) -> None:
    row_of(document)["properties"]["ID"] = {"type": "integer"}


def untold_header(document: Any) -> None:
    headers = document["paths"]["/v1/nodes"]["get"]["responses"]["200"]["headers"]
    headers["X-Nothing"] = {"required": True, "schema": {"type": "string"}}


WRONG = {
    untold_status: "Undocumented status code",
    untold_field: "'NodePool' was unexpected",
    untold_type: 'is not of type "integer"',
    untold_header: "X-Nothing",
}


@pytest.mark.parametrize("falsify", WRONG)
def test_a_wrong_document_is_noticed(tmp_path: Path, falsify: Any) -> None:
    with serving(tmp_path, live=True) as api:
        asker = Asker(api)
        asker.fill()
        document = asker.document()
        document["paths"] = {"/v1/nodes": document["paths"]["/v1/nodes"]}
        falsify(document)
        with pytest.raises((FailureGroup, ExceptionGroup), match=WRONG[falsify]):
            fuzz([asker], 15, derandomize=True, document=document)


def test_wrong_error_texts_are_noticed() -> None:
    check_tone(404, b"plugin not found")
    for body in (b"Traceback (most", b"<HTML>", b"two\nlines", b"x" * 2_000):
        with pytest.raises(AssertionError):
            check_tone(400, body)
