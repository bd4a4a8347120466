"""The lines between a prober's process and the agent, and which of them are accepted."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugind.agent.prober.results import DESCRIPTION_MAXIMUM, clean, examine
from plugind.agent.protocol import (
    Alive,
    BadLine,
    Failed,
    Found,
    Idle,
    Message,
    Targets,
    decode,
    encode,
)
from plugind.errors import ProbeFailed
from plugind.toolbox import processes

text = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers(0, 2**63 - 1)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
fingerprints = st.builds(
    lambda rest, healthy: {**rest, "Healthy": healthy},
    st.dictionaries(text, plain, max_size=3),
    st.booleans(),
)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Targets, st.frozensets(text), st.frozensets(text)),
    st.builds(
        Found, text, numbers, st.dictionaries(st.tuples(text, text), fingerprints, max_size=3)
    ),
    st.builds(Failed, text, numbers, text),
    st.builds(Failed, text, numbers, text, st.frozensets(st.tuples(text, text), max_size=3)),
    st.builds(Alive, numbers),
    st.just(Idle()),
)


@given(messages)
def test_a_message_is_one_line_and_comes_back(message: Message) -> None:
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line[:-1]) == message


@given(st.binary() | messages.map(encode).flatmap(lambda line: st.sampled_from([line[:-3], b"["])))
def test_junk_is_a_bad_line(line: bytes) -> None:
    with pytest.raises(BadLine):
        decode(line)


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b"1",
        b'{"targets": [1]}',
        b'{"targets": ["a"], "dropped": [1]}',
        b'{"target": "a", "time": 1, "instances": [{"id": "a"}]}',
        b'{"target": "a", "time": 1, "instances": [{"id":"a","role":"r","fingerprint":{}}]}',
        b'{"target": "a", "failure": "b"}',
        b'{"alive": NaN}',
        b" " * 1_100_000,
    ],
    ids=lambda line: line[:40].decode(),
)
def test_invalid_messages(line: bytes) -> None:
    with pytest.raises(BadLine):
        decode(line)


def test_a_long_message_is_refused() -> None:
    with pytest.raises(BadLine, match=r"at most 1,048,576"):
        encode(Failed("a", 1, "x" * (1 << 20)))


ROLES = ("controller", "node")


def test_keys_are_checked_one_by_one() -> None:
    good = {"Healthy": True}
    result: dict[Any, Any] = {
        ("a", "node"): good,
        ("a", "*"): good,
        ("-a", "node"): good,
        ("a" * 129, "node"): good,
        ("a", "nodde"): good,
        ("a", 1): good,
        "a": good,
    }
    found, problems = examine(result, ROLES)
    assert set(found) == {("a", "node"), ("a", "*")}
    assert len(problems) == 5
    assert "'nodde' is no role; there are controller, node" in problems


@pytest.mark.parametrize(
    ("fingerprint", "reason"),
    [
        (None, "it is NoneType instead of a mapping"),
        ({}, "Healthy must be True or False"),
        ({"Healthy": 1}, "Healthy must be True or False"),
        ({"Healthy": True, "HealthDescription": 1}, "HealthDescription must be a string"),
        (
            {"Healthy": True, "Process": {"Key": "k"}},
            "Process must be a description",
        ),
        ({"Healthy": True, "X": math.inf}, "not JSON compliant"),
        ({"Healthy": True, "X": {1, 2}}, "not JSON serializable"),
        ({"Healthy": True, "X": "\ud800"}, "surrogates not allowed"),
        ({"Healthy": True, "X": [[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]}, "deeper than 20"),
    ],
    ids=lambda value: str(value)[:30].encode("ascii", "replace").decode(),
)
def test_a_bad_fingerprint_becomes_an_unhealthy_one(fingerprint: Any, reason: str) -> None:
    found, problems = examine({("a", "node"): fingerprint}, ROLES)
    assert not problems
    shown = found["a", "node"]
    assert shown["Healthy"] is False
    assert shown["HealthDescription"].startswith("its plugin type gave a bad fingerprint: ")
    assert reason in shown["HealthDescription"]


def test_a_good_fingerprint_is_copied_and_loses_its_time() -> None:
    inner = ["x"]
    given = {"Healthy": True, "X": inner, "UpdateTime": "now", "HealthDescription": "y" * 5_000}
    found, _ = examine({("a", "node"): given}, ROLES)
    inner.append("later")
    fingerprint = found["a", "node"]
    assert fingerprint["X"] == ["x"]
    assert "UpdateTime" not in fingerprint
    assert len(fingerprint["HealthDescription"]) == DESCRIPTION_MAXIMUM


def test_a_process_that_was_not_found_is_none() -> None:
    found, _ = examine({("a", "node"): {"Healthy": True, "Process": None}}, ROLES, 10)
    assert found["a", "node"] == {"Healthy": True}
    mine = processes.of_pid(os.getpid())
    found, _ = examine({("a", "node"): {"Healthy": True, "Process": mine}}, ROLES, 10)
    assert found["a", "node"] == {"Healthy": True, "Process": mine}


def test_a_result_of_another_kind_fails_the_probe() -> None:
    with pytest.raises(ProbeFailed, match="NoneType instead of a mapping"):
        examine(None, ROLES)


@given(st.text())
def test_clean_text_is_one_line_of_unicode(text: str) -> None:
    assert len(clean(text).encode().splitlines()) <= 1
