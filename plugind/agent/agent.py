"""The agent as a whole: one supervisor for each plugin type, and the reporter of their states."""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from plugind import __version__, logs
from plugind.agent import bounds
from plugind.agent.attributes import attributes
from plugind.agent.identity import Identity, hold
from plugind.agent.report import report
from plugind.agent.report.reporter import Reporter
from plugind.agent.supervisor.supervisor import Supervisor
from plugind.agent.transitions import Plugins, transitions
from plugind.client import Tls
from plugind.health import Finding, Health
from plugind.health.health_log import log_health
from plugind.health.threads import OwnedThread, threads_health
from plugind.wire import addresses

STOP_TIMEOUT = 10.0

STATE_FOLDER = "types"
"""The folder in ``data_dir`` with one subfolder per plugin type, for the state of its prober."""

_log = logs.get("agent")


class Agent:
    """Watches over this machine's plugins and reports them as node ``name``.

    ``servers`` are one or more addresses, used in turn. ``advertise`` is the node's own address,
    HOST or HOST:PORT; by default it is the address from which the node reaches the server. ``port``
    is added to an address without one. ``types`` maps each plugin type to its settings block as it
    is in the configuration: JSON values, which the type's own process loads. That process logs with
    ``log_level`` and ``log_json``. ``command`` returns the command line that starts the process,
    given the type's name (``prober_command`` when None).
    """

    def __init__(
        self,
        name: str,
        datacenter: str,
        data_dir: Path,
        servers: Sequence[str],
        token_file: Path | None,
        tls: Tls,
        types: Mapping[str, Mapping[str, Any]],
        *,
        meta: Mapping[str, str] | None = None,
        node_class: str = "",
        advertise: str = "",
        port: int = addresses.HTTP_PORT,
        log_level: str = "INFO",
        log_json: bool = False,
        command: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        self._name = name
        self._datacenter = datacenter
        self._meta = meta or {}
        self._node_class = node_class
        self._advertise = advertise
        self._port = port
        self._data_dir = data_dir
        self._servers = servers
        self._token_file = token_file
        self._tls = tls
        self._command = command or (lambda type: prober_command(type, log_level, log_json))
        self._supervisors = {type: self._supervisor(type, types[type]) for type in types}
        self._retired: set[str] = set()
        self._refused = ""
        self._left_out: Mapping[str, int] = {}
        self._reported: Plugins = {}
        self._lock = threading.Lock()
        self._identity: Identity | None = None
        self._reporter: Reporter | None = None
        self.threads: list[OwnedThread] = []
        """Threads of other components, which health reports along with the agent's own."""

    def start(self) -> None:
        """Start to watch and report, in the agent's own threads and processes; call it only once.

        Raise IdentityError when ``data_dir`` cannot be used, or another agent uses it.
        """
        with self._lock:
            self._identity = hold(self._data_dir)
            origin = self._origin(self._identity.node_id)
            self._reporter = Reporter(
                self._identity,
                self._servers,
                self._token_file,
                self._tls,
                build=lambda: self._report(origin),
                ready=lambda: all(each.state.complete for each in self._supervisors.values()),
                acknowledged=self._acknowledged,
                probes=self._probes,
            )
            for supervisor in self._supervisors.values():
                supervisor.start()
            self._reporter.start()
        _log.info("watching", node=self._identity.node_id, types=",".join(self._supervisors))

    def reload(self, types: Mapping[str, Mapping[str, Any]]) -> None:
        """Watch exactly these types, with these blocks, from now on; leave unchanged types alone.

        A type that changed is shown as before until its new process answers. Instances that a block
        no longer has, and all instances of a removed type, count as having left on purpose.
        """
        with self._lock:
            self._refused = ""
            if self._reporter is None:
                return
            running = self._supervisors.keys() - self._retired
            changed = {
                type
                for type, block in types.items()
                if type not in running or self._supervisors[type].block != block
            }
            ended = (running - types.keys()) | (running & changed)
            self._end(ended)
            successors = {type: self._successor(type, types.get(type)) for type in ended | changed}
            self._supervisors = {**self._supervisors, **successors}
            self._retired = self._supervisors.keys() - types.keys()
            for type in changed:
                self._supervisors[type].start()
        if ended | changed:
            self._changed()
            _log.info("settings changed", types=",".join(sorted(ended | changed)))

    def probers(self) -> list[int]:
        """Return the process IDs of the probers that run or just ran."""
        pids = (supervisor.pid for supervisor in self._supervisors.values())
        return [pid for pid in pids if pid is not None]

    def refuse_reload(self, reason: str) -> None:
        """Have health report a failed reload, with its reason, until one succeeds."""
        self._refused = reason

    def stop(self, timeout: float = STOP_TIMEOUT, *, leave: bool = False) -> None:
        """End the probers and all threads; do nothing when called again.

        With ``leave``, report to a server that this node leaves, along with its instances;
        otherwise they stay expected. A prober that hangs is killed after GRACE seconds. The wait
        for a server that hangs ends after ``timeout`` seconds.
        """
        with self._lock:
            if self._identity is None or self._reporter is None:
                return
            deadline = time.monotonic() + timeout
            self._reporter.release(leave=leave)
            self._end(self._supervisors)
            self._reporter.stop(max(0.0, deadline - time.monotonic()))
            self._identity.release()
            self._identity = self._reporter = None

    def health(self) -> tuple[bool, str]:
        """Return whether this node is connected to a server, and a line with all details: "ok", or
        since when it is not connected and why."""
        condition = self.condition()
        return condition.ok, condition.message

    def condition(self) -> Health:
        """Return whether this node is connected to a server, with all other results of the health
        check."""
        reporter = self._reporter
        ok, message = reporter.health() if reporter else (False, "the agent is not running")
        results = [] if ok else [Finding("lost connections to servers", message)]
        if self._refused:
            details = f"the configuration was not reloaded: {self._refused}"
            results.append(Finding("failed reloads", details))
        if troubles := [f"{type}: {text}" for type, text in self.troubles().items() if text]:
            results.append(Finding("plugin types in trouble", "; ".join(troubles), len(troubles)))
        own = [each.thread for each in self._supervisors.values()]
        threads = threads_health([*own, *([reporter.thread] if reporter else []), *self.threads])
        return Health(ok and threads.ok, (*results, *threads.findings))

    def troubles(self) -> dict[str, str]:
        """Return, for each plugin type, why it cannot be reported in full; "" when it can.

        Such a problem concerns only its type, not the agent: the other types continue.
        """
        troubles = {}
        for type, each in sorted(self._supervisors.items()):
            if type not in self._retired:
                count = self._left_out.get(type, 0)
                rest = f"{count:,} instances are not reported: a report has no room for more"
                troubles[type] = "; ".join(filter(None, (each.trouble, rest if count else "")))
        return troubles

    def _supervisor(self, type: str, block: Mapping[str, Any], **known: Any) -> Supervisor:
        state_dir = self._data_dir / STATE_FOLDER / type
        return Supervisor(
            type, self._command(type), block, self._changed, state_dir=state_dir, **known
        )

    def _end(self, types: Iterable[str]) -> None:
        """End the processes of types, all at once."""
        for type in types:
            self._supervisors[type].release()
        for type in types:
            self._supervisors[type].stop()

    def _successor(self, type: str, block: Mapping[str, Any] | None) -> Supervisor:
        """Return the supervisor that continues with the known state of a type.

        Without a block, the supervisor only reports that all instances left, and must not be
        started.
        """
        known = self._supervisors.get(type)
        if known is None:
            assert block is not None
            return self._supervisor(type, block)
        if block is None:
            return self._supervisor(type, known.block, state=known.state.retired())
        before = None if type in self._retired else known.settled
        return self._supervisor(type, block, state=known.state, before=before)

    def stats(self) -> dict[str, str]:
        """Return the node's ID, its servers, and the condition of each plugin type."""
        servers = {"known_servers": ",".join(self._servers)}
        identity = self._identity
        if identity is None:
            return servers
        types = {f"plugin_type.{type}": text or "ok" for type, text in self.troubles().items()}
        return {**servers, "node_id": identity.node_id, **types}

    def _changed(self) -> None:
        if reporter := self._reporter:
            reporter.changed()

    def _origin(self, node_id: str) -> report.Origin:
        run_id = str(uuid.uuid4())
        return report.Origin(
            node_id,
            self._name,
            self._datacenter,
            __version__,
            run_id,
            attributes(),
            self._meta,
            self._node_class,
        )

    def _report(self, origin: report.Origin) -> dict[str, Any]:
        # The routes to the servers may start from different addresses of this machine.
        reporter = self._reporter
        host = self._advertise or (addresses.toward(reporter.server) if reporter else "")
        address = addresses.with_port(host, self._port) if host else ""
        origin = replace(origin, address=address)
        states = {type: each.state for type, each in self._supervisors.items()}
        whole = report.build(origin, states)
        plugins, left_out = bounds.fit(whole["Plugins"], whole["Allocations"])
        for type in left_out.keys() - self._left_out.keys():
            _log.warning("a report would be too large", type=type, left_out=left_out[type])
        self._left_out = left_out
        changes = transitions(self._reported, plugins, origin.node_id, origin.name)
        log_health(_log, list(changes))
        self._reported = plugins
        allocations = bounds.named(whole["Allocations"], plugins)
        return {**whole, "Plugins": plugins, "Allocations": allocations}

    def _probes(self) -> dict[str, dict[str, int]]:
        """Return the numbers of probes since the start, by plugin type, as servers expect them."""
        found = {type: each.probes for type, each in self._supervisors.items()}
        return {
            type: {"Count": each.number, "Failures": each.failures, "Time": each.time}
            for type, each in found.items()
            if each.number
        }

    def _acknowledged(self, reported: Mapping[str, Any]) -> None:
        for type, supervisor in self._supervisors.items():
            left = report.left(reported, type)
            supervisor.acknowledged(left)
            if left and supervisor.state.left:  # the report had no room for all that left
                self._changed()


def prober_command(type: str, log_level: str, log_json: bool) -> list[str]:
    """Return the command line of a prober's process.

    -P keeps Python from importing files of the current folder.
    """
    form = "json" if log_json else "text"
    return [sys.executable, "-P", "-m", "plugind.agent.prober.child", type, log_level, form]
