"""A plugin type whose code follows a test's script, for one plugin or for all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

from marshmallow import fields

from plugind.model import Fingerprint
from plugind.plugin_type import PluginType, WireSchema

Act = Callable[[], Any]
"""A replacement for a summary or a document: it returns one, raises or hangs."""


class LampSchema(WireSchema):
    Serial = fields.String(load_default="")


class LampRowSchema(WireSchema):
    Serial = fields.String()
    Bulbs = fields.List(fields.Integer())


class Lamp(PluginType):
    """Lamps, which show their serial numbers, the keys of ``script``."""

    plugind_api = 1
    name = "lamp"
    title = "Lamps"
    roles: ClassVar = {"node": "Nodes"}
    default_role = "node"
    fingerprint_schemas: ClassVar = {"node": LampSchema}
    row_schema = LampRowSchema
    body_schema = LampRowSchema

    def __init__(self) -> None:
        self.script: dict[str, Act] = {}
        self.rows: dict[str, Act] = {}
        self.bodies: dict[str, Act] = {}

    def summary(self, fingerprints: Mapping[str, Collection[Fingerprint]]) -> Mapping[str, Any]:
        serial = max(each.details["Serial"] for each in fingerprints["node"])
        act = self.script.get(serial)
        summary: Mapping[str, Any] = act() if act else {"Serial": serial, "Bulbs": [1, 2]}
        return summary

    def document_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        act = self.rows.get(row["ID"])
        document: Mapping[str, Any] = act() if act else {name: row[name] for name in reversed(row)}
        return document

    def document_body(self, body: Mapping[str, Any]) -> Any:
        act = self.bodies.get(body["ID"])
        return act() if act else [{"Lamp": body["ID"], "NodesHealthy": body["NodesHealthy"]}]


class Hang:
    """A call that hangs until it is released, and then returns a summary."""

    def __init__(self) -> None:
        self.count = 0
        self._end = threading.Event()

    def __call__(self) -> Any:
        self.count += 1
        self._end.wait(30)
        return {"Serial": "late", "Bulbs": [3]}

    def let_go(self) -> None:
        self._end.set()


def raises() -> Any:
    """Raise, as faulty code would."""
    raise RuntimeError("the secret of lamps")


NONSENSE: Mapping[str, Act] = {
    "raises": raises,
    "exits": lambda: (_ for _ in ()).throw(SystemExit(3)),
    "gives nothing": lambda: None,
    "gives a number": lambda: 42,
    "gives what no field takes": lambda: {"Bulbs": ["a bulb"]},
    "gives no valid text": lambda: {"Serial": "\ud800"},
}
"""What a summary may do instead of what it should, by what it is."""
