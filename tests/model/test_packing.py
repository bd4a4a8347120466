"""Instances are packed in memory: packing changes no value, and instances share what they can."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugind.model import Allocation, Fingerprint, Instance, InstanceKey
from plugind.model import packing as packed

_texts = st.text(st.characters(exclude_categories=["Cs"]))
_numbers = st.integers(-(2**53), 2**63 - 1)
_json = st.recursive(
    st.none()
    | st.booleans()
    | _numbers
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts,
    lambda inner: st.lists(inner) | st.dictionaries(_texts, inner),
    max_leaves=8,
)
_digests = _texts | st.text("0123456789abcdefABCDEF", max_size=33) | st.just("!0f")
_processes = st.none() | st.builds(Allocation, _texts, _texts, _texts, _numbers, st.booleans())
_fingerprints = st.builds(
    Fingerprint,
    st.booleans(),
    _texts,
    _numbers,
    _texts,
    st.dictionaries(_texts, _json),
    _processes,
)
_keys = st.builds(InstanceKey, _texts, st.just("csi"), st.sampled_from(["a", "b"]), _texts)


def details(number: int, **more: Any) -> dict[str, Any]:
    return {"Provider": "ebs.example.com", "NodeInfo": {"ID": f"i-{number:017x}"}, **more}


def instance(number: int, role: str = "node", **more: Any) -> Instance:
    fingerprint = Fingerprint(True, "healthy", number, f"alloc-{number}", details(number, **more))
    return Instance(InstanceKey(f"n{number}", "csi", "shared", role), fingerprint, "d")


def shapes(made: list[Instance]) -> set[int]:
    return {id(one._shape) for one in made}


@given(_keys, _fingerprints, _digests, st.none() | _numbers)
def test_an_instance_has_what_it_was_made_of(
    key: InstanceKey, reported: Fingerprint, digest: str, missing_since: int | None
) -> None:
    one = Instance(key, reported, digest, missing_since)
    assert (one.key, one.fingerprint, one.digest) == (key, reported, digest)
    assert one.missing_since == missing_since
    process, shown = reported.allocation, one.fingerprint.allocation
    assert (process and process.created) == (shown and shown.created)
    assert (one.is_healthy, one.description) == (reported.healthy, reported.description)
    assert (one.updated, one.alloc_id) == (reported.updated, reported.alloc_id)
    texts = (process.name, process.job_id, process.task_group) if process else ()
    assert one.process == texts
    assert orjson.loads(one.details_json) == reported.details
    again = Instance.stored(
        key,
        reported.healthy,
        reported.description,
        one.details_json,
        process,
        missing_since,
        (reported.updated, reported.alloc_id, digest),
    )
    assert again == one


@given(st.lists(st.dictionaries(st.sampled_from("abc"), _json, max_size=3), max_size=30))
def test_whatever_others_of_a_plugin_say_each_keeps_its_own_details(
    said: list[Mapping[str, Any]],
) -> None:
    key = InstanceKey("n", "csi", "many", "node")
    made = [Instance(key, Fingerprint(True, "", 1, "", each)) for each in said]
    assert [one.fingerprint.details for one in made] == said


def test_what_instances_of_a_plugin_have_in_common_is_kept_once() -> None:
    made = [instance(number) for number in range(100)]
    assert len(shapes(made)) < 10
    assert len(shapes(made[10:])) <= 2
    assert [one.fingerprint.details for one in made] == [details(n) for n in range(100)]
    whole, own = (sum(map(len, each)) for each in ([o.details_json for o in made], rests(made)))
    assert own < whole


def rests(made: list[Instance]) -> list[bytes]:
    return [one._rest for one in made]


def test_two_versions_of_a_driver_have_two_shapes() -> None:
    said = "x" * 200
    made = [instance(n, Version=f"1.{n % 2}", Z=said, About=said) for n in range(100)]
    assert len(shapes(made[20:])) <= 4
    assert max(len(one._rest) for one in made[20:]) < 120


def test_an_instance_takes_exactly_the_bytes_that_it_needs() -> None:
    one = instance(1)
    assert sys.getsizeof(one._rest) == sys.getsizeof(b"") + len(one._rest)


def test_long_texts_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_known", known := packed._Known())
    for number in range(3):
        one = instance(number, About="x" * packed.LONGEST)
        assert one.fingerprint.details["About"] == "x" * packed.LONGEST
    assert not known.cuts


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_known", known := packed._Known())
    monkeypatch.setattr(packed, "REMEMBERED", 100_000)
    made = [instance(number, f"role-{number}", About="x" * 500) for number in range(1_000)]
    assert len(known.cuts) < 100
    assert len(known.shapes) < 200
    assert [one.fingerprint.updated for one in made] == list(range(1_000))


def test_instances_differ_by_each_of_their_values() -> None:
    one = instance(1)
    assert one == instance(1)
    assert one != instance(2)
    assert one != one.changed(digest="e")
    assert one != one.changed(missing_since=1)
    assert one != one.changed(key=one.key._replace(role="x"))
    assert one != one.changed(fingerprint=one.fingerprint.changed(healthy=False))
    assert one != "an instance"
    assert one.changed(digest="e").changed(digest="d") == one


def test_equal_instances_may_be_packed_in_different_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [instance(number) for number in range(20)]
    monkeypatch.setattr(packed, "_known", packed._Known())
    after = [instance(number) for number in reversed(range(20))]
    assert rests(before) != rests(after[::-1])
    assert before == after[::-1]


def test_the_start_of_a_process_distinguishes_no_processes() -> None:
    one, other = Allocation("a", "j", "g", 1), Allocation("a", "j", "g", 2)
    assert one == other
    assert hash(one) == hash(other)
    assert one != one.changed(runs=False)
    assert one != one.changed(name="b")
    assert one != "a"
