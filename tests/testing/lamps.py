"""Plugin types for the conformance suite: a good one, and one that breaks each rule."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from marshmallow import fields

from plugind.model import Fingerprint
from plugind.plugin_type import PluginType, Prober, Settings, SettingsSchema, WireSchema
from plugind.wire.fields import Duration, Number

Fingerprints = Mapping[str, Collection[Fingerprint]]


@dataclass(frozen=True)
class LampSettings(Settings):
    watts: int


class LampSettingsSchema(SettingsSchema):
    record: ClassVar[type[Any] | None] = LampSettings
    watts = Number(load_default=60, metadata={"help": "how bright a lamp has to be"})


class LampSchema(WireSchema):
    Watts = Number(load_default=0)


class LampProber(Prober):
    def __init__(self, watts: int) -> None:
        self._watts = watts

    def discover(self) -> Mapping[str, Any]:
        return {"/lamps/desk": "desk"}

    def instances_of(self, target: str) -> Collection[tuple[str, str]] | None:
        return [(target, "node")]

    def probe(self, target: str) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        return {(target, "node"): {"Healthy": True, "Watts": self._watts}}


class Lamp(PluginType):
    """Lamps that shine, or do not."""

    plugind_api = 1
    name = "lamp"
    title = "Lamps"
    roles: ClassVar = {"node": "Nodes"}
    default_role = "node"
    settings_schema = LampSettingsSchema
    fingerprint_schemas: ClassVar = {"node": LampSchema}
    row_schema = LampSchema
    body_schema = LampSchema

    def summary(self, fingerprints: Fingerprints) -> Mapping[str, Any]:
        return {"Watts": max(self.watts(fingerprints), default=0)}

    def watts(self, fingerprints: Fingerprints) -> list[int]:
        return [int(one.details.get("Watts", 0)) for one in fingerprints["node"]]

    def prober(self, settings: LampSettings) -> Prober | None:
        return LampProber(settings.watts)


class Unusable(Lamp):
    default_role = "pilot"


class Undocumented(Lamp):
    title = ""


class Demanding(Lamp):
    """A type with a required setting."""

    settings_schema = LampSettingsSchema.from_dict({"licence": fields.String(required=True)})


class Wordless(fields.Field[Any]):
    @property
    def metadata(self) -> Any:
        raise RuntimeError("no words")

    @metadata.setter
    def metadata(self, value: Any) -> None: ...


class Undescribed(Lamp):
    """A type with a setting that cannot be described."""

    settings_schema = LampSettingsSchema.from_dict({"odd": Wordless()})


class Draining(Lamp):
    """A type that takes a key of the core."""

    node_keys: ClassVar = {"node": "Drain"}


class BareSchema(WireSchema):
    Watts = Number()


class Bare(Lamp):
    """A type whose fingerprints' fields have no defaults."""

    fingerprint_schemas: ClassVar = {"node": BareSchema}


class Halved(Number):
    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return value // 2


class HalvedSchema(WireSchema):
    Watts = Halved(load_default=0)


class Halving(Lamp):
    """A type whose schema dumps other values than it loads."""

    fingerprint_schemas: ClassVar = {"node": HalvedSchema}


class Lacking(Lamp):
    """A type whose summary leaves out fields of its rows."""

    def summary(self, fingerprints: Fingerprints) -> Mapping[str, Any]:
        return {}


class Needy(Lamp):
    """A type whose summary needs a fingerprint."""

    def summary(self, fingerprints: Fingerprints) -> Mapping[str, Any]:
        return {"Watts": max(self.watts(fingerprints))}


class Trusting(Lamp):
    """A type whose summary needs details."""

    def watts(self, fingerprints: Fingerprints) -> list[int]:
        return [one.details["Watts"] for one in fingerprints["node"]]


class Summing(Lamp):
    """A type whose summary exceeds the range of numbers in JSON."""

    def summary(self, fingerprints: Fingerprints) -> Mapping[str, Any]:
        return {"Watts": sum(self.watts(fingerprints))}


class HastySchema(LampSettingsSchema):
    probe_timeout = Duration(load_default=0.1, metadata={"help": "how long a probe may take"})


class SlowProber(LampProber):
    def discover(self) -> Mapping[str, Any]:
        time.sleep(0.4)
        return {}


class Slow(Lamp):
    """A type whose prober is slow."""

    settings_schema = HastySchema

    def prober(self, settings: LampSettings) -> Prober:
        return SlowProber(settings.watts)


class HangingProber(LampProber):
    def discover(self) -> Mapping[str, Any]:
        threading.Event().wait()
        return {}


class Hanging(Slow):
    """A type whose prober never returns its targets."""

    def prober(self, settings: LampSettings) -> Prober:
        return HangingProber(settings.watts)


class CarelessProber(LampProber):
    def discover(self) -> Mapping[str, Any]:
        return {"desk": "desk", "hall": "hall", "attic": "attic", "": "cellar"}

    def probe(self, target: str) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        if target == "hall":
            raise KeyError("bulb")
        if target == "attic":
            return {(target, "node"): {"Healthy": "yes"}}
        return {("a desk!", "node"): {"Healthy": True}, (target, "pilot"): {"Healthy": True}}


class Careless(Lamp):
    """A type whose prober returns invalid results."""

    def prober(self, settings: LampSettings) -> Prober:
        return CarelessProber(settings.watts)


class NamelessProber(LampProber):
    def instances_of(self, target: str) -> Collection[tuple[str, str]] | None:
        return None


class Nameless(Lamp):
    """A type whose targets have no known IDs before their first successful probe."""

    def prober(self, settings: LampSettings) -> Prober:
        return NamelessProber(settings.watts)


class Squeamish(Lamp):
    """A type that cannot show unhealthy instances."""

    def summary(self, fingerprints: Fingerprints) -> Mapping[str, Any]:
        if not all(one.healthy for one in fingerprints["node"]):
            raise ValueError("I cannot look at that")
        return super().summary(fingerprints)


class DyingProber(LampProber):
    def watch(self, changed: Any) -> None:
        os._exit(3)


class Dying(Lamp):
    """A type whose prober ends its own process."""

    def prober(self, settings: LampSettings) -> Prober:
        return DyingProber(settings.watts)


BROKEN = {
    "usable": Unusable,
    "documented": Undocumented,
    "settings-load": Demanding,
    "described": Undescribed,
    "names": Draining,
    "load-defaults": Bare,
    "schemas-round-trip": Halving,
    "rows-serialize": Lacking,
    "summary-of-nothing": Needy,
    "summary-without-details": Trusting,
    "summary-of-odd-values": Summing,
    "answers-in-time": Slow,
    "probe-results": Careless,
    "cold-start": Nameless,
    "failing-probe": Squeamish,
    "raising-probe": Squeamish,
    "hanging-probe": Squeamish,
    "flooding-probe": Squeamish,
}
