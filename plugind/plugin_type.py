"""What authors of plugin types build on: ``PluginType``, ``Prober`` and the hooks.

A plugin type says what is particular to one kind of plugin. The core does the rest, for every type
alike: health, counts, schedules, time-outs, storage, blocking queries and rendering. So no type can
get a count wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import click
import pluggy
from marshmallow import EXCLUDE, Schema

from plugind.fields import Duration, Number, Record
from plugind.model import CatalogueChange, Fingerprint

API_VERSION = 1
"""The version of the contract between plugind and plugin types, which is this module and what of
``errors``, ``model``, ``fields`` and ``logs`` it speaks of. It changes when types would have to."""

ENTRY_POINT_GROUP = "plugind"

hookspec = pluggy.HookspecMarker("plugind")
hookimpl = pluggy.HookimplMarker("plugind")

MEBIBYTE = 1 << 20

ANY_ROLE = "*"
"""As a role in what a prober returns: all roles known of that plugin here, else the default."""


@dataclass(frozen=True)
class Settings:
    """The settings that every plugin type has; a type adds its own in a subclass.

    ``probe_interval`` and ``probe_timeout`` are in seconds, ``memory_limit`` in bytes.
    """

    probe_interval: float
    probe_timeout: float
    unhealthy_after: int
    memory_limit: int
    max_instances: int


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How one target is probed, where that is not as the type's settings say (None: it is)."""

    probe_interval: float | None = None
    probe_timeout: float | None = None
    unhealthy_after: int | None = None

    def over(self, settings: Settings) -> Settings:
        """The settings as they are for that target."""
        own: dict[str, Any] = {
            "probe_interval": self.probe_interval,
            "probe_timeout": self.probe_timeout,
            "unhealthy_after": self.unhealthy_after,
        }
        return replace(
            settings, **{name: value for name, value in own.items() if value is not None}
        )


def _probe_interval(default: float | None) -> Duration:
    help = "how often each target is probed"
    return Duration(
        load_default=default, minimum=0.01, maximum=86_400, metadata=_help(help, default, "5s")
    )


def _probe_timeout(default: float | None) -> Duration:
    help = "how long a probe may take"
    return Duration(
        load_default=default, minimum=0.01, maximum=3_600, metadata=_help(help, default, "10s")
    )


def _unhealthy_after(default: int | None) -> Number:
    help = "how many probes in a row must fail until what was healthy is unhealthy"
    return Number(load_default=default, minimum=1, maximum=1_000, metadata=_help(help, default, 3))


def _help(help: str, default: object, example: object) -> dict[str, object]:
    """Metadata of a setting; an example where the default is none."""
    return {"help": help, **({"example": example} if default is None else {})}


class SettingsSchema(Record):
    """The ``plugin_type "NAME" { }`` block of a type's configuration.

    A subclass adds marshmallow fields and names the frozen dataclass they load into as ``record``.
    Each field's ``metadata={"help": ...}`` is what people are shown.
    """

    record: ClassVar[type[Any] | None] = Settings

    probe_interval = _probe_interval(1.5)
    probe_timeout = _probe_timeout(3.0)
    unhealthy_after = _unhealthy_after(1)
    memory_limit = Number(
        load_default=512 * MEBIBYTE,
        metadata={
            "help": "bytes of memory beyond which the process that probes is started anew; "
            "0: no limit"
        },
    )
    max_instances = Number(
        load_default=1_000,
        minimum=1,
        maximum=4_096,
        metadata={
            "help": "how many instances are reported at most; of more only those that came first"
        },
    )


class ScheduleSchema(Record):
    """A block for one target, in which the schedule may differ from the type's: see
    ``Prober.schedule``. A subclass adds fields, and its ``record`` is a subclass of Schedule."""

    record: ClassVar[type[Any] | None] = Schedule

    probe_interval = _probe_interval(None)
    probe_timeout = _probe_timeout(None)
    unhealthy_after = _unhealthy_after(None)


class WireSchema(Schema):
    """Fields by the names they have on the wire; what is not declared is ignored.

    Every field needs a ``load_default``: what is not known yet is shown with it, never left out.
    """

    class Meta:
        unknown = EXCLUDE


class Prober:
    """Finds and asks a type's plugins on one machine. It lives in a process of its own.

    The core calls ``probe`` for each target in a thread of that target's, every
    ``probe_interval``, so a probe that hangs delays no other; past ``probe_timeout`` it has failed.
    ``unhealthy_after`` probes that fail in a row make the target's instances unhealthy. The other
    methods are called from one thread.
    """

    def discover(self) -> Mapping[str, Any]:
        """The targets that there are: a name for people (a socket's path, say) and what to probe.

        Called at start, after ``changed(None)``, and every second. Targets are compared with
        ``==``: one that is no longer equal is closed and opened anew. When settings change the
        process is started anew, and a prober made of those before is asked this once and nothing
        else: what only it finds has been taken out of the configuration.
        """
        raise NotImplementedError

    def schedule(self, target: Any) -> Schedule:
        """Optional: how this target is probed, where that is not as the type's settings say.

        Called once for each target when it is found. What is None in it is as in the settings. For
        a block of configuration that says it, see ``ScheduleSchema``; a type whose ``probe`` keeps
        the time itself takes ``Schedule.over(settings).probe_timeout``.
        """
        return Schedule()

    def watch(self, changed: Callable[[str | None], None]) -> None:
        """Optional: call ``changed(name)`` when that target should be probed at once, and
        ``changed(None)`` when ``discover`` should be called. Called once, in a thread of its own;
        it may block until the process ends. ``changed`` may also be kept and called later.
        """

    def probe(self, target: Any) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """The fingerprints of a target, by plugin ID and role (or ANY_ROLE).

        What an earlier call returned and this one does not has left on purpose: it is no longer
        shown at all.

        A fingerprint has ``Healthy``; ``HealthDescription``, which says why not; optionally
        ``Process``, the process behind it as ``plugind.toolbox.processes`` tells of it (None: it
        was not found), or an ``AllocID`` of the type's own; and the fields of the type's
        fingerprint schema. What an unhealthy one leaves out keeps its last value, and a process
        that it leaves out has ended. An exception makes all that the target last gave unhealthy,
        with the exception's text: raise ``plugind.errors.ProbeFailed`` for a text fit for people.
        The core itself says of a healthy one that probes of it failed, or are slow.
        """
        raise NotImplementedError

    def close(self, target: Any) -> None:
        """Optional: the target is gone; let go of what ``probe`` opened for it. A probe of it
        that hangs may still be running."""


class PluginType:
    """One kind of plugin. Subclass it, and return an object of it from ``plugind_plugin_types``."""

    plugind_api: ClassVar[int]
    """The ``API_VERSION`` that the type was made for, as a number: 1. One of another version is
    told of and not used."""

    name: ClassVar[str]
    """As in ``?type=NAME``, ``/v1/plugin/NAME/ID``, the capability ``NAME-list-plugin``."""

    title: ClassVar[str] = ""
    """For people: "Container Storage Interface"."""

    roles: ClassVar[Mapping[str, str]]
    """The roles of an instance, each with its plural on the wire: ``{"node": "Nodes"}`` gives
    NodesHealthy, NodesExpected and the map Nodes."""

    default_role: ClassVar[str]
    """The role of an instance that never said which it has."""

    settings_schema: ClassVar[type[SettingsSchema]] = SettingsSchema

    fingerprint_schemas: ClassVar[Mapping[str, type[WireSchema]]]
    """By role: what a fingerprint holds beyond Healthy, HealthDescription and the core's others."""

    row_schema: ClassVar[type[WireSchema]] = WireSchema
    """What a row of the list holds beyond ID, counts and indexes; dumped from ``summary``."""

    body_schema: ClassVar[type[WireSchema]] = WireSchema
    """What a read of one plugin holds beyond the core's fields; dumped from ``summary``."""

    node_keys: ClassVar[Mapping[str, str]] = {}
    """By role: the key of a node's own answer that maps plugin IDs to fingerprints. A role that
    has none here gets one made of the type's name and its own: SampleNodePlugins."""

    capabilities: ClassVar[tuple[str, ...]] = ()
    """What ACL policies may name for a namespace beyond NAME-list-plugin, NAME-read-plugin and
    NAME-register-plugin, so that policies written for others load; each begins with NAME and a
    dash. plugind itself grants nothing by them."""

    def summary(self, fingerprints: Mapping[str, Collection[Fingerprint]]) -> Mapping[str, Any]:
        """What ``row_schema`` and ``body_schema`` dump, from all fingerprints of a plugin by role.

        Every role is there; a plugin that is only declared has no fingerprint in any.
        """
        return {}

    def document_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """A row of the list where ``wire = "document"``, its keys in the order to be sent."""
        return row

    def document_body(self, body: Mapping[str, Any]) -> Any:
        """A read of one plugin where ``wire = "document"``; Nomad's document has a list of one."""
        return [body]

    def prober(self, settings: Any) -> Prober | None:
        """The prober, given what ``settings_schema`` loaded. None: this type finds nothing itself,
        agents of other makes report it."""
        return None

    def dev_settings(self, folder: Path) -> Mapping[str, Any]:
        """The type's block for ``plugind agent --dev``, where everything lives below ``folder``."""
        return {}


class Hooks:
    """The hooks that a package may implement, in a module named by its ``plugind`` entry point."""

    @hookspec
    def plugind_changed(self, change: CatalogueChange) -> None:
        """Called in a server for each change that makes instances come, go, healthy or unhealthy,
        once it is durable, in the order of indexes. Return nothing. Since version 1.

        A package is called from one thread of its own, so it may take its time: what it returns is
        ignored, what it raises is logged and counted in ``/v1/agent/health``, and nobody waits for
        it. Of more than 1,000 changes that wait the oldest are dropped, which is logged, counted
        there and told in ``change.missed``. What still waits when the server ends is called within
        two seconds or lost, which is logged. Silence of a node counts for each of its instances.
        What else changes about an instance, such as its reason while it stays unhealthy, is no such
        change, and neither are declarations.
        """

    @hookspec
    def plugind_plugin_types(self) -> Sequence[PluginType]:  # type: ignore[empty-body]
        """Called once at start. Return the plugin types that the package brings.

        Since version 1."""

    @hookspec
    def plugind_stores(self) -> Mapping[str, type[Any]]:  # type: ignore[empty-body]
        """Called once at start. Return the stores that the package brings (subclasses of
        ``plugind.store.base.Store``), by the name each has in ``store "NAME" { }``.

        Since version 1."""

    @hookspec
    def plugind_commands(self, group: click.Group) -> None:
        """Called once when the command line starts. Add commands of your own to ``group``; return
        nothing.

        Since version 1."""
