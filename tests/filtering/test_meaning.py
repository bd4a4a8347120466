"""The meaning of each operator for each kind of value, and of each word."""

from __future__ import annotations

from typing import Any

import pytest
from marshmallow import Schema, fields

from plugind import filtering
from plugind.filtering.kinds import ANY, BOOL, NUMBER, TEXT, TIME, Fields, List, Map
from plugind.schemas.nodes import NodeSchema, NodeStubSchema
from plugind.schemas.plugins import PluginSchemas
from plugind.types.registry import plugin_type
from tests.filtering.rows import FIELDS, ROW, holds

# Each is true of ROW; a "-" before an expression: false.
TABLE = r"""
equality, read as what the field is
  T == "ebs.sample"
  T == `ebs.sample`
  T == ebs.sample
  T != ebs
- T == U
- T != "ebs.sample"
  N == 2
  N == "2"
  N == 2.0
  N == "0x2"
  N == "+2"
  N != -2
  N != "1e99"
- N == 3
  F == "15e-1"
- F == 1
  B == true
  B == "1"
  B != F
- B == False
  Renamed == 0
  W == "2026-02-01T00:00:00.500+01:00"
- W == "2026-01-31T23:00:00Z"

order
  N < 3
  N <= 2
  N > 1.5
  N >= 2
- N < 2
- N > 2
- N <= 1
- N >= 3
  T < "f"
  T >= "ebs"
- T < "ebs"
  W > "2026-01-31T23:00:00Z"
  V < "2026-01-31T23:00:00.000000001Z"
- W <= "2026-01-31T23:00:00Z"

order of text beside a number without quotes
  M["a.b/c"] > 9
  M["a.b/c"] <= 16
  M["a.b/c"] < "9"
- M.zone > 9
- M.zone <= 9
  A.t >= 4

a field on the right
  F < N
- N < F
  T > U
  W > V
- W <= V
  N >= N
  N != R.N
  R.N == R.N
- N == R.N
  B != Renamed
- B == Renamed
  W != V
- W == V
  R.N > A["n"]
  A.n > N
- A.n < N

a word on the right of == is a value where it can be one
- T == T
  T != T
- A.t == T
  B == t

text in text, items in lists, keys in maps
  sample in T
  T contains "s.s"
  T not contains x
- x in T
  "" in T
  "/" not in T
  W contains T23
  web in S
  S contains db
  "we" not in S
- we in S
  1 in L
  L contains "2"
- 3 in L
  zone in M
  M contains zone
- "z1" in M
  "a.b/c" in M
  A contains n
  1 in A.list
  x in A.list
  true in A.list
- 2 in A.list
- "1.5" in A.list
- true in A.ones
  "2026-01-31T01:00:00+01:00" in Days
- "2026-01-30T00:00:00Z" in Days
  k in A.map
  3 in X
  "3" in X
- k in X

patterns
  T matches "^ebs"
- T matches "^sample"
  T not matches `^\.`
  T matches "(?i)SAMPLE$"
  T matches ""
  W matches "^2026"
  M.zone matches "^z[0-9]$"
  A.t matches "4"
  T matches `\Aebs\.`

empty or not
  U is empty
- U is not empty
  T is not empty
- T is empty
  Q is empty
  S is not empty
  M is not empty
- M is empty
  R is not empty
  M.empty is empty
  A.map is not empty
  X is not empty

nil or not, whatever the kind of the field
  Nothing is nil
- Nothing is not nil
  T is not nil
- T is nil
  U is not nil
  N is not nil
- N is nil
  B is not nil
  W is not nil
  Q is not nil
  R is not nil
  R.T is not nil
  M.none is nil
  M["zone"] is not nil
  "/M/a.b~1c" is not nil
  A.none is nil
  A.none.deeper is nil
  A.n is not nil
  A.map is not nil
  L.9 is nil
  L.0 is not nil
  X is not nil
  any A as k, v { v is nil and k == none }
- all A as _, v { v is not nil }
  any Days as day { day is nil }
  T != nil and N == 2
- nil in S

paths
  R["N"] == 7
  "/R/N" == 7
  R[`T`] == inner
  G.1.T == two
  G["1"]["T"] == two
  "/G/0/N" == 1
  L.0 == 1
  X.2.k == v
  M[ "zone" ] == z1
  "/M/a.b~1c" == 16
  "/M/a.b~1c" is not empty
  2 in L and "/L/1" == 2

what is null or not there is equal to nothing, and empty
  Nothing is empty
- Nothing is not empty
  Nothing != x
- Nothing == x
  x not in Nothing
- x in Nothing
  Nothing not matches ""
- Nothing matches ""
  M.none is empty
  M.none != ""
- M.none == ""
- M.none < "x"
- A.none > 1
- A.none <= 1
- A.none < A.n
- A.n < A.none
- A.none == A.none
  A.none.deeper is empty
- L.9 == 1
  L.9 != 1
  G.7.T != one
  X.k != v

each of a list or map
  any S as s { s == web }
- any S as s { s == x }
  all L as n { n < 3 }
- all L as n { n < 2 }
  any G as g { g.N == 2 and g.T == two }
- any G as g { g.N == 1 and g.T == two }
  any G as g { "/g/N" > 1 }
  all Q as q { q.N == 1 }
- any Q as q { q.N == 1 or N == 2 }
  any L as i, n { i < n }
  any L as i, _ { i == 1 }
  any S as i, s { i == 0 and s == web }
  all G as i, g { i < g.N }
- any L as i, _ { i == 2 }
  all L as _, n { n != 0 }
  any M as k { k == zone }
- any M as k { k == z1 }
  any M as k, v { k == zone and v == z1 }
  all M as _, _ { N == 2 }
  any A.list as x { x == 1 }
  any A.map as k { k == k }
  any A.map as k, v { k == k and v == 1 }
  any X.2 as k, v { v == v }
  any G as T { T.N == N }
  any G as g { g.N == R.N or g.N == N }
  all Nothing as x { x == 1 }
- any A.none as x { x != 1 }

precedence, and words that are keywords elsewhere
  N == 2 or N == 3 and N == 4
  not N == 3 and N == 2
- not (N == 3 or N == 2)
- (N == 2 or N == 3) and N == 4
  not not N == 2
  not(N==3)and(N==2)
  ((N == 2))
  T != empty
  T != and and N == 2
  T != not and N == 2
  T != or or T != in
- not in S
  not not in S
  not in in S
- not in not in S
- in in S
  any not in S
- any in S or all in S
  T != any and T != all
  T != a/b and T != v1.2 and T != a["x y"]

quoting, as Go does it
  "\x65bs\u002e\163" in T
  T != "\a\b\f\n\r\t\v\\\"" and T != "\xc3\xa9\U0001F600"
  T != `\q"`
"""
CASES = [
    (line[2:], not line.startswith("-"))
    for line in TABLE.splitlines()
    if line.startswith(("  ", "- "))
]


@pytest.mark.parametrize(("expression", "wanted"), CASES)
def test_meaning(expression: str, wanted: bool) -> None:
    assert holds(expression) is wanted
    assert holds(f"not ({expression})") is not wanted
    assert holds(f" \r\n\t{expression}\n") is wanted


def test_white_space_within() -> None:
    assert holds("N\n==\n2\tand\r\nM[\n`zone`\n]\n==z1")
    assert holds("T is  not\n empty and x not \n in S")
    assert holds("T is  not\n nil and Nothing is\tnil")
    assert holds("T == `ebs\r.sample`")  # as Go reads it
    assert not holds("T == `ebs\n.sample`")


def test_a_row_may_lack_fields() -> None:
    assert holds("N != 1 and T is empty and T is nil and not N < 3", {})


DESCRIBED: list[tuple[Any, Any]] = [
    (FIELDS.by_name["U"], TEXT),
    (FIELDS.by_name["F"], NUMBER),
    (FIELDS.by_name["Renamed"], BOOL),
    (FIELDS.by_name["W"], TIME),
    (FIELDS.by_name["S"], List(TEXT)),
    (FIELDS.by_name["L"], List(NUMBER)),
    (FIELDS.by_name["M"], Map(TEXT)),
    (FIELDS.by_name["A"], Map(ANY)),
    (FIELDS.by_name["X"], ANY),
    (FIELDS.by_name["Nothing"], ANY),
]


@pytest.mark.parametrize(("found", "wanted"), DESCRIBED)
def test_a_schema_gives_the_kinds_of_its_fields(found: Any, wanted: Any) -> None:
    assert found == wanted


def test_names_are_those_of_the_wire() -> None:
    assert set(FIELDS.by_name) == set(ROW)
    for name in ("G", "Q"):
        inner = FIELDS.by_name[name]
        assert isinstance(inner, List)
        assert isinstance(inner.of, Fields)
        assert inner.of.by_name == {"T": TEXT, "N": NUMBER}


def test_a_schema_may_hold_itself() -> None:
    class Self(Schema):
        N = fields.Integer()
        Inner = fields.Nested(lambda: Self())

    described = filtering.fields_of(Self())
    row: dict[str, Any] = {"N": 0}
    for number in range(1, 12):
        row = {"N": number, "Inner": row}
    path = ".".join(["Inner"] * 11)
    assert filtering.compile(f"{path}.N == 0 and N == 11", described)(row)


def test_rows_of_plugins() -> None:
    row_schema = PluginSchemas.of(plugin_type("csi")).row
    described = filtering.fields_of(row_schema)
    row = row_schema.dump(
        {"ID": "ebs0", "NodesHealthy": 1, "NodesExpected": 2, "Provider": "ebs.sample.plugind"}
    )
    wanted = 'NodesHealthy < NodesExpected and Provider contains "ebs" and ModifyIndex != 1'
    assert filtering.compile(wanted, described)(row)
    assert not filtering.compile("NodesHealthy == NodesExpected", described)(row)


def test_rows_of_nodes() -> None:
    described = filtering.fields_of(NodeStubSchema())
    row = NodeStubSchema().dump({"ID": "x", "Name": "n1", "Status": "down"})
    wanted = 'Status == down and Name matches "^n" and Drivers is empty and Drain == false'
    assert filtering.compile(wanted, described)(row)
    assert filtering.fields_of(NodeSchema()).by_name["Meta"] == Map(TEXT)
