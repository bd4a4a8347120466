"""Plugin types for the conformance suite: a good one, and for each rule one that breaks it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from marshmallow import fields

from plugind.fields import Duration, Number
from plugind.model import Fingerprint
from plugind.plugin_type import PluginType, Prober, Settings, SettingsSchema, WireSchema

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
    """Of its settings one is required."""

    settings_schema = LampSettingsSchema.from_dict({"licence": fields.String(required=True)})


class Wordless(fields.Field[Any]):
    @property
    def metadata(self) -> Any:
        raise RuntimeError("no words")

    @metadata.setter
    def metadata(self, value: Any) -> None: ...


class Undescribed(Lamp):
    """A setting of its cannot be put into words."""

    settings_schema = LampSettingsSchema.from_dict({"odd": Wordless()})


class Draining(Lamp):
    """It takes a key of the core's."""

    node_keys: ClassVar = {"node": "Drain"}


class Halved(Number):
    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return value // 2


class HalvedSchema(WireSchema):
    Watts = Halved(load_default=0)


class Halving(Lamp):
    """What it dumps is not what it loads."""

    fingerprint_schemas: ClassVar = {"node": HalvedSchema}


class Lacking(Lamp):
    """Its summary leaves out what its rows have."""

    def summary(self, fingerprints: Fingerprints) -> Mapping[str, Any]:
        return {}


class Needy(Lamp):
    """Its summary needs a fingerprint."""

    def summary(self, fingerprints: Fingerprints) -> Mapping[str, Any]:
        return {"Watts": max(self.watts(fingerprints))}


class Trusting(Lamp):
    """Its summary needs details."""

    def watts(self, fingerprints: Fingerprints) -> list[int]:
        return [one.details["Watts"] for one in fingerprints["node"]]


class Summing(Lamp):
    """Its summary is larger than JSON's numbers may be here."""

    def summary(self, fingerprints: Fingerprints) -> Mapping[str, Any]:
        return {"Watts": sum(self.watts(fingerprints))}


class HastySchema(LampSettingsSchema):
    probe_timeout = Duration(load_default=0.1, metadata={"help": "how long a probe may take"})


class SlowProber(LampProber):
    def discover(self) -> Mapping[str, Any]:
        time.sleep(0.4)
        return {}


class Slow(Lamp):
    """Its prober takes its time."""

    settings_schema = HastySchema

    def prober(self, settings: LampSettings) -> Prober:
        return SlowProber(settings.watts)


class HangingProber(LampProber):
    def discover(self) -> Mapping[str, Any]:
        threading.Event().wait()
        return {}


class Hanging(Slow):
    """Its prober never says which lamps there are."""

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
    """What its prober gives is of little use."""

    def prober(self, settings: LampSettings) -> Prober:
        return CarelessProber(settings.watts)


class Squeamish(Lamp):
    """It cannot show what is not healthy."""

    def summary(self, fingerprints: Fingerprints) -> Mapping[str, Any]:
        if not all(one.healthy for one in fingerprints["node"]):
            raise ValueError("I cannot look at that")
        return super().summary(fingerprints)


class DyingProber(LampProber):
    def watch(self, changed: Any) -> None:
        os._exit(3)


class Dying(Lamp):
    """Its prober ends the process that it is in."""

    def prober(self, settings: LampSettings) -> Prober:
        return DyingProber(settings.watts)


BROKEN = {
    "usable": Unusable,
    "documented": Undocumented,
    "settings-load": Demanding,
    "described": Undescribed,
    "names": Draining,
    "schemas-round-trip": Halving,
    "rows-serialize": Lacking,
    "summary-of-nothing": Needy,
    "summary-without-details": Trusting,
    "summary-of-odd-values": Summing,
    "answers-in-time": Slow,
    "findings": Careless,
    "failing-probe": Squeamish,
    "raising-probe": Squeamish,
    "hanging-probe": Squeamish,
    "flooding-probe": Squeamish,
}
