"""A filter decodes the rows that it examines, for fields that no earlier filter used."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugind import filtering
from plugind.api import rows
from plugind.api.query import read_query
from plugind.catalogue.columns import Columns
from plugind.catalogue.rendering import Listing
from tests.filtering.rows import FIELDS
from tests.filtering.trees import expressions, naive
from tests.filtering.trees import rows as some_rows
from tests.support import Api, FakeAgent, up

COUNT = 50


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Yield the rows that filters decode from now on."""
    seen: list[bytes] = []

    def loads(body: bytes) -> Any:
        seen.append(body)
        return orjson.loads(body)

    monkeypatch.setattr(rows, "orjson", SimpleNamespace(loads=loads))
    return seen


def listing(values: Iterable[dict[str, Any]], columns: Columns | None = None) -> Listing:
    named = ((f"{at:03d}", orjson.dumps(row)) for at, row in enumerate(values))
    return Listing(named, columns=columns)


def many() -> list[dict[str, Any]]:
    return [{"T": f"t{at % 5}", "N": at, "R": {"N": at}, "S": ["s"]} for at in range(COUNT)]


def found(some: Listing, expression: str, **more: str) -> list[int]:
    query = read_query({"filter": expression, **more}, "global")
    page = rows.select(some, query, filtering.compile(expression, FIELDS))
    return [int(id_) for id_, _ in page.listing.rows]


def test_a_field_is_decoded_once(decoded: list[bytes]) -> None:
    some = listing(many())
    assert found(some, "T == t3 and N > 40") == [43, 48]
    assert len(decoded) == COUNT
    assert found(some, "T == t3 or T == none") == list(range(3, COUNT, 5))
    assert found(some, "T != t3 and T != t2 and T != t1 and T != t0") == list(range(4, COUNT, 5))
    assert len(decoded) == COUNT, "T is known of every row"
    assert found(some, "N == 43 and T == t3") == [43]
    assert len(decoded) == 2 * COUNT - COUNT // 5, "N was asked for only where T is t3"


def test_only_rows_that_are_looked_at_are_decoded(decoded: list[bytes]) -> None:
    some = listing(many())
    assert found(some, "N >= 10", prefix="01") == list(range(10, 20))
    assert len(decoded) == 10
    decoded.clear()
    assert found(some, "N >= 20", per_page="3", next_token="020") == [20, 21, 22]
    assert len(decoded) == 4, "the first row of the next page is looked at"
    decoded.clear()
    assert found(some, "N > 0", per_page="2", reverse="true") == [49, 48]
    assert len(decoded) == 3


def test_lists_and_groups_are_not_kept(decoded: list[bytes]) -> None:
    some = listing(many())
    for times in (1, 2):
        assert found(some, "R.N < 3 and s in S and R is not empty") == [0, 1, 2]
        assert len(decoded) == times * COUNT, "a row is decoded once a filter"
    kept = some.columns.of(some.rows)
    assert not any(isinstance(value, list | dict) for column in kept.values() for value in column)


def test_equal_texts_are_kept_once() -> None:
    some = listing(many())
    found(some, "T == t3")
    kept = some.columns.of(some.rows)["T"]
    assert kept == [f"t{at % 5}" for at in range(COUNT)]
    assert len(set(map(id, kept))) == 5


def test_no_field_beyond_the_rows_is_read_from_them() -> None:
    some = listing([{"ID": "a"}, {"ID": "b", "T": "in part"}])
    assert found(some, "T is nil") == [0], "and that is kept"
    beyond = rows.Beyond(frozenset({"T"}), lambda id_, name: f"{name} of {id_}")
    query = read_query({"filter": 'T == "T of 001"'}, "global")
    page = rows.select(some, query, filtering.compile(query.filter, FIELDS), beyond)
    assert [id_ for id_, _ in page.listing.rows] == ["001"]
    assert found(some, "T is nil") == [0]


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(expressions(), min_size=1, max_size=3),
    st.lists(some_rows, min_size=1, max_size=4),
    st.data(),
)
def test_a_filter_means_the_same_of_rows_in_every_version_of_a_list(
    written: list[tuple[str, Any]], values: list[dict[str, Any]], data: st.DataObject
) -> None:
    columns = Columns()
    known = listing(values, columns).rows
    for _ in range(3):
        version = Listing(known, columns=columns)
        for text, tree in written:
            expected = [at for at, (_, body) in enumerate(known) if naive(tree, orjson.loads(body))]
            assert [known[at] for at in expected] == list(
                rows.select(
                    version,
                    read_query({"filter": text}, "global"),
                    filtering.compile(text, FIELDS),
                ).listing.rows
            )
        changed = data.draw(st.integers(0, len(known)))
        new = data.draw(st.lists(some_rows, max_size=2))
        fresh = [(f"{at:03d}", orjson.dumps(row)) for at, row in enumerate(new, start=changed)]
        known = (*known[:changed], *fresh, *known[changed + 1 :])


def ask(api: Api, path: str, expression: str) -> list[str]:
    answer = api.call("GET", f"{path}filter={quote(expression)}")
    assert answer.status == 200, answer.text
    return [row["ID"] for row in answer.json]


def _plugins(agent: FakeAgent, marked: int) -> str:
    agent.report(
        {f"p{at}": {"node": up(Provider="marked" if at == marked else "plain")} for at in range(9)}
    )
    return f"p{marked}"


def _nodes(agent: FakeAgent, marked: int) -> str:
    for at in range(9):
        each = FakeAgent(agent.api, f"{at}0000000-0000-4000-8000-000000000000", name=f"n{at}")
        each.report({}, Datacenter="marked" if at == marked else "plain")
    return f"{marked}0000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("path", "field", "report"),
    [("/v1/plugins?type=csi&", "Provider", _plugins), ("/v1/nodes?", "Datacenter", _nodes)],
)
def test_after_a_change_only_what_changed_is_decoded(
    api: Api,
    decoded: list[bytes],
    path: str,
    field: str,
    report: Callable[[FakeAgent, int], str],
) -> None:
    agent = FakeAgent(api)
    first = report(agent, 3)
    assert ask(api, path, f"{field} == marked") == [first]
    assert len(decoded) == 9
    second = report(agent, 5)
    assert ask(api, path, f"{field} == marked and ID != x") == [second]
    assert [orjson.loads(body)[field] for body in decoded[9:]] == ["plain", "marked"]
