"""Changes as a log stores them: decoding returns the change that was committed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugind.model import (
    Allocation,
    Change,
    Declaration,
    Fingerprint,
    Forgotten,
    Instance,
    InstanceKey,
    KeptSecret,
    Node,
    PluginKey,
    Session,
    Step,
    Transition,
)
from plugind.store.coding import as_logged, decode, encode

TEXT = st.text(max_size=8)
NUMBER = st.integers(-(2**63), 2**64)
HELD = st.integers(-(2**63), 2**64 - 1)
"""The range of numbers that an instance can hold: intake accepts no others."""

TEXTS = st.dictionaries(TEXT, TEXT, max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | HELD | TEXT | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.builds(InstanceKey, TEXT, TEXT, TEXT, TEXT)
ALLOCATIONS = st.builds(Allocation, TEXT, TEXT, TEXT, HELD, st.booleans())
FINGERPRINTS = st.builds(
    Fingerprint,
    st.booleans(),
    TEXT,
    HELD,
    TEXT,
    st.dictionaries(TEXT, JSON, max_size=3),
    st.none() | ALLOCATIONS,
)
NODES = st.builds(Node, TEXT, TEXT, attributes=TEXTS, meta=TEXTS, heard=NUMBER)
INSTANCES = st.builds(Instance, KEYS, FINGERPRINTS, TEXT, st.none() | NUMBER)
DECLARATIONS = st.builds(
    Declaration, st.builds(PluginKey, TEXT, TEXT), st.dictionaries(TEXT, NUMBER, max_size=3)
)
FORGOTTEN = st.builds(Forgotten, KEYS, NUMBER, st.booleans())
SESSIONS = st.builds(Session, TEXT, TEXT, TEXT, NUMBER, NUMBER)
SECRETS = st.builds(KeptSecret, TEXT, TEXT, TEXT, NUMBER)
TRANSITIONS = st.builds(
    Transition,
    *(TEXT, NUMBER, NUMBER, *[TEXT] * 8, st.booleans(), NUMBER, NUMBER),
)
NAMES = st.frozensets(TEXT, max_size=3)


def steps(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return all steps except those from nothing to nothing."""
    some = st.builds(Step, st.none() | values, values) | st.builds(Step, values, st.none())
    return st.lists(some, max_size=3).map(tuple)


CHANGES = st.builds(
    Change,
    NUMBER,
    steps(NODES),
    steps(INSTANCES),
    steps(DECLARATIONS),
    NAMES,
    NAMES,
    steps(FORGOTTEN),
    st.lists(TRANSITIONS, max_size=2).map(tuple),
    steps(SECRETS),
    steps(SESSIONS),
    id=TEXT,
    base=NUMBER,
    reads=NAMES,
    writes=NAMES,
)


def key_of(value: Any) -> Any:
    for name in ("key", "id", "node_id"):
        if hasattr(value, name):
            return getattr(value, name)
    raise AssertionError(value)


@given(CHANGES)
def test_a_decoded_change_is_the_one_that_was_committed(change: Change) -> None:
    """Check that decoding restores everything, but only keys of the states before the steps."""
    found = decode(encode(change))
    groups = ("nodes", "instances", "declarations", "forgotten", "kept_secrets", "sessions")
    for name in groups:
        own, logged = getattr(change, name), getattr(found, name)
        assert [step.after for step in own] == [step.after for step in logged]
        assert [key_of(step.some) for step in own] == [key_of(step.some) for step in logged]
    empty: dict[str, Any] = dict.fromkeys(groups, ())
    assert found.changed(**empty) == change.changed(**empty)
    assert as_logged(found) == found


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b'{"time":"x"}', b'{"time":1,"nodes":[{"id":5}]}', b'{"time":1}x']
)
def test_other_text_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(text)
