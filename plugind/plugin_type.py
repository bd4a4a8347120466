"""The base classes and hooks of plugin types: ``PluginType``, ``Prober`` and ``Hooks``.

A plugin type defines the particulars of one kind of plugin. The core does the rest, for every
type alike: health, counts, schedules, time-outs, storage, blocking queries and rendering, so that
no type can get a count wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import click
import pluggy
from marshmallow import EXCLUDE, Schema

from plugind.model import CatalogueChange, Fingerprint
from plugind.wire.fields import Duration, Number, Record

API_VERSION = 1
"""The version of the contract between plugind and plugin types: this module, with everything of
``errors``, ``model``, ``fields`` and ``logs`` that it refers to. It changes when types have to."""

ENTRY_POINT_GROUP = "plugind"

hookspec = pluggy.HookspecMarker("plugind")
hookimpl = pluggy.HookimplMarker("plugind")

MEBIBYTE = 1 << 20

ANY_ROLE = "*"
"""A role in a prober's results: all roles known of that plugin here, else the default role."""


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
    """The schedule of one target, where it differs from the type's settings (None: it does not)."""

    probe_interval: float | None = None
    probe_timeout: float | None = None
    unhealthy_after: int | None = None

    def over(self, settings: Settings) -> Settings:
        """Return the settings with the values of this schedule in place of theirs."""
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
    help = "how many probes in a row must fail until a healthy instance is unhealthy"
    return Number(load_default=default, minimum=1, maximum=1_000, metadata=_help(help, default, 3))


def _help(help: str, default: object, example: object) -> dict[str, object]:
    """Return the metadata of a setting; with an example where the default is None."""
    return {"help": help, **({"example": example} if default is None else {})}


class SettingsSchema(Record):
    """The ``plugin_type "NAME" { }`` block of a type's configuration.

    A subclass adds marshmallow fields and names the frozen dataclass they load into as ``record``.
    Each field's ``metadata={"help": ...}`` is its description in documents and on the command line.
    """

    record: ClassVar[type[Any] | None] = Settings

    probe_interval = _probe_interval(1.5)
    probe_timeout = _probe_timeout(3.0)
    unhealthy_after = _unhealthy_after(1)
    memory_limit = Number(
        load_default=512 * MEBIBYTE,
        metadata={
            "help": "bytes of memory beyond which the process that probes is restarted; 0: no limit"
        },
    )
    max_instances = Number(
        load_default=1_000,
        minimum=1,
        maximum=4_096,
        metadata={"help": "how many instances are reported at most; further ones are left out"},
    )


class ScheduleSchema(Record):
    """A block for one target, in which the schedule may differ from the type's.

    See ``Prober.schedule``. A subclass adds fields, and its ``record`` is a subclass of Schedule.
    """

    record: ClassVar[type[Any] | None] = Schedule

    probe_interval = _probe_interval(None)
    probe_timeout = _probe_timeout(None)
    unhealthy_after = _unhealthy_after(None)


class WireSchema(Schema):
    """Fields by the names they have on the wire; undeclared ones are ignored.

    Every field needs a ``load_default``: a value that is not known yet is shown with it, never left
    out.
    """

    class Meta:
        unknown = EXCLUDE


class Prober:
    """Finds and probes a type's plugins on one machine, in a process of its own.

    The core calls ``probe`` for each target in a thread of that target's, every ``probe_interval``,
    so that a probe that hangs delays no other; past ``probe_timeout`` it has failed.
    ``unhealthy_after`` probes that fail in a row make the target's instances unhealthy. The other
    methods are called from one thread.
    """

    state_dir: Path | None = None
    """A folder of the type's own, mode 0700, for state that must survive a restart of the agent.

    The core sets it before the first ``discover``. It is None where there is no folder: in tests,
    and where the agent's ``data_dir`` cannot be written. ``plugind.toolbox.state_file`` keeps JSON
    in it.
    """

    def discover(self) -> Mapping[str, Any]:
        """Return all targets: for each a name for people (a socket's path, for example) and the
        object to probe.

        Called at start, after ``changed(None)``, and every second. Targets are compared with
        ``==``: one that is no longer equal is closed and opened again. When settings change the
        process is restarted, and a prober made of the previous settings is asked this once and
        nothing else: targets that only it finds have been taken out of the configuration.
        """
        raise NotImplementedError

    def schedule(self, target: Any) -> Schedule:
        """Return the schedule of a target, where it differs from the type's settings. Optional.

        Called once for each target when it is found. Values that are None are those of the
        settings. ``ScheduleSchema`` is a block of configuration for it; a type whose ``probe``
        keeps the time itself takes ``Schedule.over(settings).probe_timeout``.
        """
        return Schedule()

    def instances_of(self, target: Any) -> Collection[tuple[str, str]] | None:
        """Return the plugin IDs and roles (or ANY_ROLE) of a target, as far as they follow from its
        name or its configuration. Optional; it must not contact the target.

        Called once for each target when it is found, and used only while no probe of it has
        succeeded yet: should the first probes raise or hang, these instances are shown, unhealthy
        and with the reason. None means that the target's name is the plugin's ID, where it is valid
        as one. An empty collection means that only a probe can find the IDs. Where no ID is known,
        a target that fails is shown in its node's Attributes, in health and in the agent's log.
        """
        return None

    def is_configured(self, target: Any) -> bool:
        """Return whether the agent's configuration names this target. Optional.

        An instance of such a target is reported with ``Configured``: it is expected to be there, so
        that forgetting it does not hide it. The others have False.
        """
        return False

    def trouble(self) -> str:
        """Return in one line what keeps targets from being found, "" if nothing does. Optional.

        An example is a folder that the agent may not read. Called after each ``discover``; health
        shows the text.
        """
        return ""

    def watch(self, changed: Callable[[str | None], None]) -> None:
        """Call ``changed(name)`` when that target should be probed at once, and ``changed(None)``
        when ``discover`` should be called. Optional.

        Called once, in a thread of its own; it may block until the process ends. ``changed`` may
        also be kept and called later.
        """

    def probe(self, target: Any) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """Return the fingerprints of a target, by plugin ID and role (or ANY_ROLE).

        Instances that an earlier call returned and this one does not have left on purpose: they are
        no longer shown at all.

        A fingerprint has ``Healthy``; ``HealthDescription``, the reason why not; optionally
        ``Process``, the process behind it as ``plugind.toolbox.processes`` describes it (None: it
        was not found), or an ``AllocID`` of the type's own; optionally ``Succession``; and the
        fields of the type's fingerprint schema. Fields that an unhealthy one leaves out keep their
        last values, and a process that it leaves out has ended. An exception makes all instances
        that the target last returned unhealthy, with the exception's text: raise
        ``plugind.errors.ProbeFailed`` for a text fit for people. The core itself adds to a healthy
        one that probes of it failed, or are slow.

        ``Succession`` is for targets that may stand for one instance together, as two versions of a
        program do during an upgrade: ``{"Of": TEXT, "Rank": NUMBER}``. Of those that return one
        instance and have the same ``Of``, or an empty one, only the target with the highest
        ``Rank`` is shown. Targets without it, or with another ``Of``, dispute the instance: it is
        unhealthy if more than one of them is healthy.
        """
        raise NotImplementedError

    def close(self, target: Any) -> None:
        """Close everything that ``probe`` opened for a target that is gone. Optional.

        A probe of it that hangs may still be running.
        """


class PluginType:
    """One kind of plugin. Subclass it, and return an object of it from ``plugind_plugin_types``."""

    plugind_api: ClassVar[int]
    """The ``API_VERSION`` that the type was made for, as a number: 1. A type of another version is
    reported as broken and not used."""

    name: ClassVar[str]
    """The type's name, as in ``?type=NAME``, ``/v1/plugin/NAME/ID`` and ``NAME-list-plugin``."""

    title: ClassVar[str] = ""
    """The type's title for people, such as "Container Storage Interface"."""

    roles: ClassVar[Mapping[str, str]]
    """The roles of an instance, each with its plural on the wire: ``{"node": "Nodes"}`` gives
    NodesHealthy, NodesExpected and the map Nodes."""

    default_role: ClassVar[str]
    """The role of an instance whose role is not known."""

    version_detail: ClassVar[str] = ""
    """The field of a fingerprint that holds the version, in wire form; "" where none does. History
    then shows upgrades."""

    settings_schema: ClassVar[type[SettingsSchema]] = SettingsSchema

    fingerprint_schemas: ClassVar[Mapping[str, type[WireSchema]]]
    """The schema for each role of a fingerprint's fields beyond the core's (Healthy and others)."""

    row_schema: ClassVar[type[WireSchema]] = WireSchema
    """The fields of a list's row beyond ID, counts and indexes; dumped from ``summary``."""

    body_schema: ClassVar[type[WireSchema]] = WireSchema
    """The fields of a read of one plugin beyond the core's; dumped from ``summary``."""

    node_keys: ClassVar[Mapping[str, str]] = {}
    """The key for each role, in the answer about a node, that maps plugin IDs to fingerprints. A
    role without one gets a key made of the type's name and its own: SampleNodePlugins."""

    capabilities: ClassVar[tuple[str, ...]] = ()
    """Capabilities that ACL policies may name for a namespace beyond NAME-list-plugin,
    NAME-read-plugin and NAME-register-plugin, so that policies written for other programs load.
    Each begins with NAME and a dash. plugind itself grants nothing by them."""

    def summary(self, fingerprints: Mapping[str, Collection[Fingerprint]]) -> Mapping[str, Any]:
        """Return the values that ``row_schema`` and ``body_schema`` dump.

        ``fingerprints`` has all fingerprints of a plugin by role. Every role is there; a plugin
        that is only declared has no fingerprint in any. This is called in the server, in a thread
        of the type's own, as are the schemas' fields and the documents. It must compute, and wait
        for nothing: where it raises, or takes longer than 50 ms, the plugin is shown with its last
        good values.
        """
        return {}

    def document_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a row of the list for ``wire = "document"``, its keys in the order to be sent."""
        return row

    def document_body(self, body: Mapping[str, Any]) -> Any:
        """Return a read of one plugin for ``wire = "document"``; Nomad's document has a list of
        one."""
        return [body]

    def prober(self, settings: Any) -> Prober | None:
        """Return the prober, given the settings that ``settings_schema`` loaded.

        None means that this type finds nothing itself: other agents report its plugins.
        """
        return None

    def dev_settings(self, folder: Path) -> Mapping[str, Any]:
        """Return the type's block for ``plugind agent --dev``, where everything lives below
        ``folder``."""
        return {}


class Hooks:
    """The hooks that a package may implement, in a module named by its ``plugind`` entry point."""

    @hookspec
    def plugind_changed(self, change: CatalogueChange) -> None:
        """React to a change that makes instances appear, leave, or become healthy or unhealthy.

        Called in a server once the change is durable, in the order of indexes. Return nothing.
        Since version 1.

        A package is called from one thread of its own, so it may take its time: its result is
        ignored, its exceptions are logged and counted in ``/v1/agent/health``, and nothing waits
        for it. Of more than 1,000 waiting changes the oldest are dropped, which is logged, counted
        there and passed in ``change.missed``. Changes that still wait when the server ends are
        passed on within two seconds or lost, which is logged. A node that goes down counts for each
        of its instances. Other changes of an instance, such as another reason while it stays
        unhealthy, are not reported, and neither are declarations.
        """

    @hookspec
    def plugind_plugin_types(self) -> Sequence[PluginType]:  # type: ignore[empty-body]
        """Return the plugin types that the package provides.

        Called once at start. Since version 1.
        """

    @hookspec
    def plugind_stores(self) -> Mapping[str, type[Any]]:  # type: ignore[empty-body]
        """Return the stores that the package provides, by their names in ``store "NAME" { }``.

        They are subclasses of ``plugind.store.base.Store``. Called once at start. Since version 1.
        """

    @hookspec
    def plugind_commands(self, group: click.Group) -> None:
        """Add commands of the package's own to ``group``; return nothing.

        Called once when the command line starts. Since version 1.
        """
