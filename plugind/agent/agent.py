"""The agent as a whole: one supervisor a plugin type, and the reporter that tells of them."""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from plugind import __version__, logs
from plugind.agent import bounds, report
from plugind.agent.attributes import attributes
from plugind.agent.identity import Identity, hold
from plugind.agent.reporter import Reporter
from plugind.agent.supervisor import Supervisor

STOP_TIMEOUT = 10.0

_log = logs.get("agent")


class Agent:
    """Watches over this machine's plugins and reports them as node ``name``.

    ``servers`` are addresses, one or more, spoken to in turn. ``types`` maps each plugin type to
    its settings block as configuration has it: JSON values, which the type's own process loads.
    That process logs as ``log_level`` and ``log_json`` say; ``command`` is what starts it, given
    the type's name (``prober_command`` when None).
    """

    def __init__(
        self,
        name: str,
        datacenter: str,
        data_dir: Path,
        servers: Sequence[str],
        token_file: Path | None,
        ca_file: Path | None,
        types: Mapping[str, Mapping[str, Any]],
        *,
        log_level: str = "INFO",
        log_json: bool = False,
        command: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        self._name = name
        self._datacenter = datacenter
        self._data_dir = data_dir
        self._servers = servers
        self._token_file = token_file
        self._ca_file = ca_file
        self._command = command or (lambda type: prober_command(type, log_level, log_json))
        self._supervisors = {type: self._supervisor(type, types[type]) for type in types}
        self._retired: set[str] = set()
        self._refused = ""
        self._left_out: Mapping[str, int] = {}
        self._lock = threading.Lock()
        self._identity: Identity | None = None
        self._reporter: Reporter | None = None

    def start(self) -> None:
        """Starts to watch and to report, in threads and processes of its own; once only.

        Raises IdentityError when ``data_dir`` cannot be used, or another agent uses it.
        """
        with self._lock:
            self._identity = hold(self._data_dir)
            origin = self._origin(self._identity.node_id)
            self._reporter = Reporter(
                self._identity,
                self._servers,
                self._token_file,
                self._ca_file,
                build=lambda: self._report(origin),
                ready=self._is_complete,
                acknowledged=self._acknowledged,
            )
            for supervisor in self._supervisors.values():
                supervisor.start()
            self._reporter.start()
        _log.info("watching", node=self._identity.node_id, types=",".join(self._supervisors))

    def reload(self, types: Mapping[str, Mapping[str, Any]]) -> None:
        """From now on exactly these types are watched, with these blocks; those that did not change
        are left alone.

        Of a type that changed all stays as it is shown until its new process answers. What a block
        no longer has, and what a type had that is no longer there, has left on purpose.
        """
        with self._lock:
            self._refused = ""
            if self._reporter is None:
                return
            running = self._supervisors.keys() - self._retired
            changed = {type for type in types if self._differs(type, types[type])}
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

    def refuse_reload(self, reason: str) -> None:
        """A reload failed: health says so until one succeeds, to anybody who asks."""
        self._refused = reason

    def stop(self, timeout: float = STOP_TIMEOUT, *, leave: bool = False) -> None:
        """Ends the probers and all threads; again does nothing.

        With ``leave`` a server is told that this node leaves, and its instances with it; otherwise
        they stay expected. A prober that hangs is killed after GRACE seconds. A server that hangs
        is waited for until ``timeout`` seconds are over.
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
        """Whether this node is connected to a server: True and "ok", or False, since when not and
        why."""
        reporter = self._reporter
        ok, message = reporter.health() if reporter else (False, "the agent is not running")
        if self._refused:
            message += f"; the configuration was not reloaded: {self._refused}"
        troubles = [f"{type}: {text}" for type, text in self.troubles().items() if text]
        return ok, "; ".join([message, *troubles])

    def troubles(self) -> dict[str, str]:
        """By plugin type, what keeps it from being reported well; "" when nothing does. None of it
        is the agent's own: the other types go on."""
        return {
            type: "; ".join(filter(None, (each.trouble, _told(self._left_out.get(type, 0)))))
            for type, each in sorted(self._supervisors.items())
            if type not in self._retired
        }

    def _supervisor(self, type: str, block: Mapping[str, Any], **known: Any) -> Supervisor:
        return Supervisor(type, self._command(type), block, self._changed, **known)

    def _differs(self, type: str, block: Mapping[str, Any]) -> bool:
        if type in self._retired or type not in self._supervisors:
            return True
        return self._supervisors[type].block != block

    def _end(self, types: Iterable[str]) -> None:
        """Ends the processes of types, all at once."""
        for type in types:
            self._supervisors[type].release()
        for type in types:
            self._supervisors[type].stop()

    def _successor(self, type: str, block: Mapping[str, Any] | None) -> Supervisor:
        """What goes on with what is known of a type; without a block it will not be started."""
        known = self._supervisors.get(type)
        if known is None:
            assert block is not None
            return self._supervisor(type, block)
        if block is None:
            return self._supervisor(type, known.block, state=known.state.retired())
        before = None if type in self._retired else known.settled
        return self._supervisor(type, block, state=known.state, before=before)

    def stats(self) -> dict[str, str]:
        """Who reports, to whom, and how each plugin type is doing."""
        servers = {"known_servers": ",".join(self._servers)}
        identity = self._identity
        if identity is None:
            return servers
        types = {f"plugin_type.{type}": text or "ok" for type, text in self.troubles().items()}
        return {**servers, "node_id": identity.node_id, **types}

    def _changed(self) -> None:
        if reporter := self._reporter:
            reporter.changed()

    def _is_complete(self) -> bool:
        return all(supervisor.state.complete for supervisor in self._supervisors.values())

    def _origin(self, node_id: str) -> report.Origin:
        run_id = str(uuid.uuid4())
        return report.Origin(
            node_id, self._name, self._datacenter, __version__, run_id, attributes()
        )

    def _report(self, origin: report.Origin) -> dict[str, Any]:
        states = {type: each.state for type, each in self._supervisors.items()}
        told = report.build(origin, states)
        plugins, left_out = bounds.fit(told["Plugins"], told["Allocations"])
        for type in left_out.keys() - self._left_out.keys():
            _log.warning("a report would be too large", type=type, left_out=left_out[type])
        self._left_out = left_out
        allocations = bounds.named(told["Allocations"], plugins)
        return {**told, "Plugins": plugins, "Allocations": allocations}

    def _acknowledged(self, told: Mapping[str, Any]) -> None:
        for type, supervisor in self._supervisors.items():
            left = report.left(told, type)
            supervisor.acknowledged(left)
            if left and supervisor.state.left:  # there was no room for more of it
                self._changed()


def _told(left_out: int) -> str:
    if not left_out:
        return ""
    return f"{left_out:,} instances are not reported: a report has no room for more"


def prober_command(type: str, log_level: str, log_json: bool) -> list[str]:
    """What runs a prober's process; -P, so that no file of the current folder is imported."""
    form = "json" if log_json else "text"
    return [sys.executable, "-P", "-m", "plugind.agent.child", type, log_level, form]
