"""Plugin types with one mistake each, of kinds that authors make in practice.

Each mistake must be reported in one row of one rule. The types are at the top of the module because
the prober's process imports them by name.
"""

from __future__ import annotations

from typing import Any, ClassVar

from marshmallow import fields

from plugind.errors import ProbeFailed
from plugind.plugin_type import PluginType, Prober, WireSchema
from plugind.wire.fields import Number
from tests.testing.lamps import Lamp, LampProber, LampSettings


def odd(name: str, **methods: Any) -> type[PluginType]:
    """Make a type of lamps with other attributes, or a prober with other methods."""
    own = {key: methods.pop(key) for key in list(methods) if hasattr(Lamp, key)}
    prober = type(f"{name}Prober", (LampProber,), methods)

    def make(self: Any, settings: LampSettings) -> Prober:
        return prober(settings.watts)  # type: ignore[no-any-return]

    body = {"__doc__": "Odd lamps.", "__module__": __name__, "prober": make, **own}
    return type(name, (Lamp,), body)


def raising(error: BaseException) -> Any:
    def method(*words: Any) -> Any:
        raise error

    return method


class BrightSchema(WireSchema):
    Watts = Number(load_default=0, maximum=10)


class Bulb(WireSchema):
    Socket = fields.String()


class BulbSchema(WireSchema):
    Watts = Number(load_default=0)
    Bulb = fields.Nested(Bulb, load_default=dict)


class InnerSchema(WireSchema):
    Socket = fields.String(load_default="")


class WholeSchema(WireSchema):
    Watts = Number(load_default=0)
    Bulb = fields.Nested(InnerSchema, load_default=dict)


class CarelessProber(LampProber):
    """A prober whose targets are the mistakes; two targets make each mistake."""

    probed: ClassVar[dict[str, Any]] = {
        "list": [("desk", "node")],
        "none": None,
        "bool": {("desk", "node"): True},
        "undeclared": {("a", "node"): {"Healthy": True, "Colour": "red"}},
        "misspelt": {("b", "node"): {"Healthy": True, "Bulb": {"Sockets": "E27"}}},
        "role": {("d", "pilot"): {"Healthy": True}},
        "id": {("/lamps/desk", "node"): {"Healthy": True}},
    }
    named: ClassVar[dict[str, Any]] = {"text": "desk", "captain": [("desk", "captain")]}

    def discover(self) -> Any:
        kinds = (*self.probed, *self.named, "words", "raise", "schedule")
        return {f"{kind}{number}": (kind, number) for kind in kinds for number in (1, 2)}

    def probe(self, target: Any) -> Any:
        if target[0] == "raise":
            raise KeyError("bulb")
        if target[0] == "words":
            return {(f"c{target[1]}", "node"): {"Healthy": True, "Watts": "60"}}
        return self.probed.get(target[0], {})

    def instances_of(self, target: Any) -> Any:
        return self.named.get(target[0])

    def schedule(self, target: Any) -> Any:
        return None if target[0] == "schedule" else super().schedule(target)


CARELESS = [
    "probe returned list instead of a mapping from plugin ID and role",
    "probe returned NoneType instead of a mapping from plugin ID and role",
    "desk/node: its plugin type gave a bad fingerprint: it is bool instead of a mapping",
    "node: a fingerprint has Colour, which fingerprint_schemas does not declare",
    "node: a fingerprint has Bulb.Sockets, which fingerprint_schemas does not declare",
    "a server rejects c1/node: Watts: must be a whole number.",
    "'pilot' is no role; there are node",
    "'/lamps/desk' is no plugin ID",
    "instances_of returned str instead of pairs of plugin ID and role",
    "'captain' is no role; there are node",
    "schedule returned NoneType instead of a Schedule",
    "probe of ('raise', 1) raised KeyError: 'bulb' (odd_lamps.py:LINE), and so did 1 other calls",
]
"""The report on that prober: one row for each mistake."""


class Careless(Lamp):
    """Lamps whose targets each make a different mistake."""

    fingerprint_schemas: ClassVar = {"node": WholeSchema}

    def prober(self, settings: LampSettings) -> Prober:
        return CarelessProber(settings.watts)


ListsTargets = odd("ListsTargets", discover=lambda self: ["desk"])
Unwatched = odd("Unwatched", watch=raising(OSError("no eyes")))
Unmade = odd("Unmade", prober=lambda self, settings: 5)
Unstarted = odd("Unstarted", prober=raising(RuntimeError("no mains")))
SaysNothing = odd("SaysNothing", summary=lambda self, fingerprints: None)

MissesNested = odd("MissesNested", fingerprint_schemas={"node": BulbSchema})
SaysWords = odd("SaysWords", summary=lambda self, fingerprints: {"Watts": "sixty"})
SaysTooMuch = odd("SaysTooMuch", row_schema=BrightSchema, body_schema=BrightSchema)
LacksWatts = odd("LacksWatts", summary=lambda self, fingerprints: {})
NoRow = odd("NoRow", document_row=lambda self, row: [row])
OfVersionOne = odd("OfVersionOne", plugind_api="1")

TRIED: dict[type[PluginType], tuple[str, str]] = {
    ListsTargets: (
        "probe-results",
        "discover returned list instead of a mapping from names to targets",
    ),
    Unwatched: ("probe-results", "watch raised OSError: no eyes (odd_lamps.py:LINE)"),
    Unmade: ("probe-results", "prober() returned int instead of a Prober"),
    Unstarted: ("probe-results", "prober raised RuntimeError: no mains (odd_lamps.py:LINE)"),
    SaysNothing: ("rows-serialize", "summary returns NoneType instead of a mapping"),
    OfVersionOne: (
        "usable",
        "OfVersionOne: plugind_api is the text '1'; it must be the number 1",
    ),
}
"""For each type: the rule that it breaks, and the row. Its prober is run."""

LOOKED_AT: dict[type[PluginType], tuple[str, str]] = {
    MissesNested: ("load-defaults", "node: Bulb.Socket has no load_default"),
    SaysWords: (
        "rows-serialize",
        "the result of summary does not fit row_schema: Watts must be a whole number.",
    ),
    SaysTooMuch: (
        "summary-of-odd-values",
        "the result of summary does not fit row_schema: Watts must be from 0 to 10.",
    ),
    LacksWatts: ("rows-serialize", "the row lacks Watts, which summary leaves out"),
    NoRow: ("rows-serialize", "document_row returns list instead of a mapping"),
}
"""The same for rules that examine only the type's declarations, which takes no time."""


class DarkProber(LampProber):
    """A prober whose probes all fail; the plugin of one of its lamps is unknown."""

    def discover(self) -> Any:
        return {"/lamps/desk": "desk", "/lamps/?": ""}

    def instances_of(self, target: str) -> Any:
        return [(target, "node")] if target else ()

    def probe(self, target: str) -> Any:
        raise ProbeFailed("it is dark")


class Dark(Lamp):
    """Lamps that never shine."""

    def prober(self, settings: LampSettings) -> Prober:
        return DarkProber(settings.watts)
