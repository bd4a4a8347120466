"""Rows to filter, with a field of each kind, and functions that evaluate and refuse expressions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from marshmallow import Schema, fields

from plugind import filtering
from plugind.errors import BadRequest
from plugind.wire.fields import Flag, Number, Text, Time


class ItemSchema(Schema):
    T = Text()
    N = Number()


class RowSchema(Schema):
    T = Text()
    U = fields.String()
    N = Number()
    F = fields.Float()
    B = Flag()
    W = Time()
    V = Time()
    S = fields.List(fields.String())
    L = fields.List(fields.Integer())
    D = fields.List(Time(), data_key="Days")
    M = fields.Dict(Text(), Text())
    R = fields.Nested(ItemSchema)
    G = fields.List(fields.Nested(ItemSchema))
    Q = fields.Nested(ItemSchema, many=True)
    A = fields.Dict()
    X = fields.Raw()
    Nothing = fields.Constant(None)
    renamed = fields.Boolean(data_key="Renamed")
    Secret = fields.String(load_only=True)


FIELDS = filtering.fields_of(RowSchema())

ROW: dict[str, Any] = {
    "T": "ebs.sample",
    "U": "",
    "N": 2,
    "F": 1.5,
    "B": True,
    "W": "2026-01-31T23:00:00.5Z",
    "V": "2026-01-31T23:00:00Z",
    "S": ["web", "db"],
    "L": [1, 2],
    "Days": [None, "2026-01-31T00:00:00Z"],
    "M": {"zone": "z1", "a.b/c": "16", "empty": ""},
    "R": {"T": "inner", "N": 7},
    "G": [{"T": "one", "N": 1}, {"T": "two", "N": 2}],
    "Q": [],
    "A": {
        "n": 4,
        "t": "4",
        "b": True,
        "none": None,
        "list": [1, "x", True],
        "ones": [1],
        "map": {"k": 1},
    },
    "X": [3, "3", {"k": "v"}],
    "Nothing": None,
    "Renamed": False,
}


def holds(expression: str, row: Mapping[str, Any] = ROW) -> bool:
    return filtering.compile(expression, FIELDS)(row)


def error_of(expression: str, row: Mapping[str, Any] = ROW) -> str:
    """Return the message for an invalid expression, when it is compiled or applied to a row."""
    with pytest.raises(BadRequest) as raised:
        holds(expression, row)
    assert raised.value.status == 400
    return str(raised.value)
