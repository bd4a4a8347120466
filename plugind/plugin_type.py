"""The base classes and hooks of plugin types: ``PluginType``, ``Prober`` and ``Hooks``.

A plugin type defines whatever is specific to one kind of plugin. The core does the rest in the same
way for every type: health, counts, schedules, timeouts, storage, blocking queries and rendering, so
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
"""The version of the contract between plugind and plugin types: this module, and everything in
``errors``, ``model``, ``fields`` and ``logs`` that it refers to. It changes when types have to."""

ENTRY_POINT_GROUP = "plugind"

hookspec = pluggy.HookspecMarker("plugind")
hookimpl = pluggy.HookimplMarker("plugind")

MEBIBYTE = 1 << 20

ANY_ROLE = "*"
"""A role in a prober's results. It stands for all known roles of the plugin on this machine or, if
none is known, the default role."""


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
    """The schedule of one target; None means the value in the type's settings."""

    probe_interval: float | None = None
    probe_timeout: float | None = None
    unhealthy_after: int | None = None

    def over(self, settings: Settings) -> Settings:
        """Return the settings, overridden by the values of this schedule that are not None."""
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
    """Return the metadata of a setting, with an example if the default is None."""
    return {"help": help, **({"example": example} if default is None else {})}


class SettingsSchema(Record):
    """The ``plugin_type "NAME" { }`` block of a type's configuration.

    A subclass adds marshmallow fields, and sets ``record`` to the frozen dataclass that they load
    into. Each field's ``metadata={"help": ...}`` is its description in documents and on the command
    line.
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
    """A configuration block for one target, whose schedule may differ from the type's.

    See ``Prober.schedule``. A subclass adds fields, and its ``record`` is a subclass of Schedule.
    """

    record: ClassVar[type[Any] | None] = Schedule

    probe_interval = _probe_interval(None)
    probe_timeout = _probe_timeout(None)
    unhealthy_after = _unhealthy_after(None)


class WireSchema(Schema):
    """Fields under their names in the API; undeclared fields are ignored.

    Every field needs a ``load_default``: a value that is not known yet is shown as this default,
    never left out.
    """

    class Meta:
        unknown = EXCLUDE


class Prober:
    """Finds and probes a type's plugins on one machine, in a separate process.

    The core calls ``probe`` every ``probe_interval`` for each target, in a separate thread for each
    target, so a probe that hangs does not delay others. A probe that takes longer than
    ``probe_timeout`` has failed. When ``unhealthy_after`` probes in a row have failed, the target's
    instances are unhealthy. The other methods are called from one thread.
    """

    state_dir: Path | None = None
    """The type's own folder, mode 0700, for state that must survive a restart of the agent.

    The core sets it before the first ``discover``. It is None if there is no folder: in tests, and
    if the agent's ``data_dir`` is not writable. ``plugind.toolbox.state_file`` keeps JSON in it.
    """

    def discover(self) -> Mapping[str, Any]:
        """Return all targets: a dict from a name for people, such as a socket's path, to the object
        to probe.

        Called at start, after ``changed(None)``, and every second. Targets are compared with
        ``==``: a target that is no longer equal is closed and opened again. When settings change,
        the process is restarted. In the new process, a prober with the previous settings is also
        created, and only this method of it is called, once: targets that only this prober finds
        have been removed from the configuration.
        """
        raise NotImplementedError

    def schedule(self, target: Any) -> Schedule:
        """Return the schedule of a target, if it differs from the type's settings. Optional.

        Called once for each target when it is found. A value that is None is taken from the
        settings. ``ScheduleSchema`` is a configuration block for a schedule. A type whose ``probe``
        enforces the timeout itself uses ``Schedule.over(settings).probe_timeout``.
        """
        return Schedule()

    def instances_of(self, target: Any) -> Collection[tuple[str, str]] | None:
        """Return the plugin IDs and roles (or ANY_ROLE) of a target that are known from its name or
        configuration. Optional; it must not contact the target.

        Called once for each target when it is found, and used only until a probe of the target has
        succeeded: if the first probes raise or hang, these instances are shown as unhealthy, with
        the reason. None means that the target's name is the plugin's ID, if it is a valid ID. An
        empty collection means that only a probe can find the IDs. If no ID is known, a target that
        fails is shown in its node's Attributes, in health and in the agent's log.
        """
        return None

    def is_configured(self, target: Any) -> bool:
        """Return whether the agent's configuration names this target. Optional.

        An instance of such a target is reported with ``Configured`` true: it is expected to exist,
        so forgetting it does not hide it. Other instances are reported with false.
        """
        return False

    def trouble(self) -> str:
        """Return one line that says why targets cannot be found, or "" if they can. Optional.

        An example is a folder that the agent may not read. Called after each ``discover``; the
        agent's health shows the text.
        """
        return ""

    def watch(self, changed: Callable[[str | None], None]) -> None:
        """Call ``changed(name)`` when the target of that name should be probed at once, and
        ``changed(None)`` when ``discover`` should be called. Optional.

        Called once, in a separate thread; it may block until the process ends. It may also store
        ``changed`` and call it later.
        """

    def probe(self, target: Any) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """Return the fingerprints of a target, by plugin ID and role (or ANY_ROLE).

        Instances that an earlier call returned and this call does not have left on purpose: they
        are no longer shown at all.

        A fingerprint has these fields: ``Healthy``; ``HealthDescription``, the reason if it is
        unhealthy; optionally ``Process``, the process behind the instance as described by
        ``plugind.toolbox.processes`` (None if it was not found), or the type's own ``AllocID``;
        optionally ``Succession``; and the fields of the type's fingerprint schema. Fields that an
        unhealthy fingerprint leaves out keep their last values, but a process that it leaves out
        has ended. An exception makes all instances that the target last returned unhealthy, with
        the exception's text: raise ``plugind.errors.ProbeFailed`` with a text that is fit for
        people. The core itself notes in a healthy fingerprint when probes have failed or are slow.

        ``Succession`` is for several targets that may stand for the same instance, such as two
        versions of a program during an upgrade: ``{"Of": TEXT, "Rank": NUMBER}``. If targets return
        the same instance with the same ``Of``, or an empty one, only the target with the highest
        ``Rank`` is shown. Targets without ``Succession``, or with a different ``Of``, conflict: the
        instance is unhealthy if more than one of them is healthy.
        """
        raise NotImplementedError

    def close(self, target: Any) -> None:
        """Close everything that ``probe`` opened for a target that is gone. Optional.

        A probe of the target that hangs may still be running.
        """


class PluginType:
    """One kind of plugin. Subclass it, and return an instance from ``plugind_plugin_types``."""

    plugind_api: ClassVar[int]
    """The ``API_VERSION`` that the type was made for, as a literal number: 1. A type made for
    another version is reported as broken and not used."""

    name: ClassVar[str]
    """The type's name, as in ``?type=NAME``, ``/v1/plugin/NAME/ID`` and ``NAME-list-plugin``."""

    title: ClassVar[str] = ""
    """The type's title for people, such as "Container Storage Interface"."""

    roles: ClassVar[Mapping[str, str]]
    """The roles that an instance may have, each with its plural in the API: ``{"node": "Nodes"}``
    gives NodesHealthy, NodesExpected and the map Nodes."""

    default_role: ClassVar[str]
    """The role of an instance whose role is not known."""

    version_detail: ClassVar[str] = ""
    """The name, as in the API, of the fingerprint field with the plugin's version, from which
    history shows upgrades; "" if there is none."""

    settings_schema: ClassVar[type[SettingsSchema]] = SettingsSchema

    fingerprint_schemas: ClassVar[Mapping[str, type[WireSchema]]]
    """The schema for each role of the fingerprint fields that are not the core's (Healthy etc.)."""

    row_schema: ClassVar[type[WireSchema]] = WireSchema
    """The fields of a row in a list besides ID, counts and indexes; dumped from ``summary``."""

    body_schema: ClassVar[type[WireSchema]] = WireSchema
    """The fields in the answer about one plugin besides the core's; dumped from ``summary``."""

    node_keys: ClassVar[Mapping[str, str]] = {}
    """For each role, the key in the answer about a node that maps plugin IDs to fingerprints. The
    default key is made from the names of the type and the role: SampleNodePlugins."""

    capabilities: ClassVar[tuple[str, ...]] = ()
    """Capabilities that ACL policies may name for a namespace besides NAME-list-plugin,
    NAME-read-plugin and NAME-register-plugin, so that policies written for other programs load.
    Each begins with NAME and a dash. They grant nothing in plugind itself."""

    def summary(self, fingerprints: Mapping[str, Collection[Fingerprint]]) -> Mapping[str, Any]:
        """Return the values that ``row_schema`` and ``body_schema`` dump.

        ``fingerprints`` has all fingerprints of a plugin by role. It has every role; a plugin that
        is only declared has no fingerprint in any of them. This method is called in the server, in
        a thread for this type only, as are the fields of the schemas and the ``document_`` methods.
        It must only compute, and wait for nothing: if it raises, or takes longer than 50 ms, the
        plugin is shown with its last good values.
        """
        return {}

    def document_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a row of the list for ``wire = "document"``, with keys in the order to send."""
        return row

    def document_body(self, body: Mapping[str, Any]) -> Any:
        """Return the answer about one plugin for ``wire = "document"``; in Nomad's documentation it
        is a list of one.
        """
        return [body]

    def prober(self, settings: Any) -> Prober | None:
        """Return the prober, given the settings that ``settings_schema`` loaded.

        None means that this type does not look for plugins here: other agents report its plugins.
        """
        return None

    def dev_settings(self, folder: Path) -> Mapping[str, Any]:
        """Return the type's block for ``plugind agent --dev``, with everything below ``folder``."""
        return {}


class Hooks:
    """The hooks that a package may implement, in a module named by its ``plugind`` entry point."""

    @hookspec
    def plugind_changed(self, change: CatalogueChange) -> None:
        """React to a change that makes instances appear, leave, or become healthy or unhealthy.

        Called in a server when the change is durable, in the order of indexes. Return nothing.
        Since version 1.

        Each package is called from a separate thread, so it may take its time: nothing waits for
        it, its result is ignored, and its exceptions are logged and counted in
        ``/v1/agent/health``. If more than 1,000 changes are waiting, the oldest are dropped; this
        is logged, counted in health and reported in ``change.missed``. Changes that are still
        waiting when the server ends are delivered within two seconds or lost, which is logged. A
        node that goes down is a change of each of its instances. Other changes of an instance, such
        as a new reason while it stays unhealthy, are not reported, nor are declarations.
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
        """Add the package's own commands to ``group``; return nothing.

        Called once when the command line starts. Since version 1.
        """
