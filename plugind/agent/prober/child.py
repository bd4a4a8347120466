"""A prober's process: ``python -m plugind.agent.prober.child TYPE LOG_LEVEL text|json``.

Its first line on standard input is JSON with these keys: ``settings``, the type's block;
``before``, after a reload the block that was in force before, else null; ``shown``, the
fingerprints shown of targets with healthy instances, each as its line of the protocol;
``state_dir``, the folder in which the prober may keep state that must survive a restart (null:
none); and ``agent``, the agent's process ID. After that line the end of input means that the agent
has ended. Standard output carries the messages of ``plugind.agent.protocol`` and nothing else.

The process ends with its agent whatever foreign code does in it: such code may hold the interpreter
lock, so that no thread of plugind runs, and then only the kernel can end it. Its children end with
it, because they are in a process group of their own, which a guard kills.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from marshmallow import ValidationError

import plugind.without_rich  # noqa: F401 - before structlog is imported
from plugind import logs
from plugind.agent import kernel, protocol
from plugind.agent.prober.probing import Probing
from plugind.agent.protocol import Found, Idle, Message
from plugind.agent.supervisor.orphans import OOM_SCORE_MAXIMUM
from plugind.errors import PlugindError
from plugind.plugin_type import PluginType, Prober
from plugind.toolbox.programs import GUARD
from plugind.types import registry

_log = logs.get("prober")
_guards: list[subprocess.Popen[bytes]] = []


def main() -> int:
    """Probe for the plugin type that the command line names; return the exit status."""
    name, level, form = sys.argv[1:]
    logs.configure(level, json=form == "json")
    return serve(lambda: registry.plugin_type(name))


def serve(load: Callable[[], PluginType]) -> int:
    """Probe for the plugin type that ``load`` returns until the agent ends; return the exit status.

    ``load`` runs third-party code, so the process is bound to its agent before the call. The status
    is 1, after an error in the log, when the type or its settings cannot be used.
    """
    with suppress(OSError):  # without it, the end of input ends the process
        kernel.end_with_parent()
    with suppress(OSError):  # so that the kernel ends this process before the agent
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE_MAXIMUM)
    stdin, stdout = _take_pipes()
    # Ctrl-C reaches the whole process group, but it is the agent that ends its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    _guard_children()
    orders = _orders(stdin)
    if orders is None:
        return 0
    threading.Thread(target=_exit_with_agent, args=(stdin,), daemon=True).start()
    try:
        _run(load(), orders, Sender(stdout))
    except ValidationError as error:
        _log.error("bad settings; correct the plugin_type block", mistakes=str(error.messages))
    except PlugindError as error:
        _log.error(str(error))
    except Exception:
        _log.error("the plugin type is broken", exc_info=True)
    else:
        return 0
    return 1


class Sender:
    """Writes messages as lines, one at a time; safe for threads."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, message: Message) -> None:
        line = protocol.encode(message)
        with self._lock:
            try:
                self._stream.write(line)
                self._stream.flush()
            except OSError:
                os._exit(0)  # the agent has ended, so there is no reader


def _orders(stdin: BinaryIO) -> dict[str, Any] | None:
    """Return the agent's first line; None when the agent has ended.

    It may have ended before the kernel was asked to end this process with it: this process then has
    another parent.
    """
    line = stdin.readline()
    if not line.endswith(b"\n"):
        return None
    orders: dict[str, Any] = json.loads(line)
    return orders if orders.get("agent") in (None, os.getppid()) else None


def _run(plugin_type: PluginType, orders: Mapping[str, Any], send: Sender) -> None:
    schema = plugin_type.settings_schema()
    settings = schema.load(orders["settings"])
    state_dir = orders.get("state_dir")
    prober = _prober(plugin_type, settings, state_dir)
    if prober is None:
        send(Idle())
        return
    if not isinstance(prober, Prober):
        raise PlugindError(f"prober() returned {type(prober).__name__} instead of a Prober")
    before = orders["before"]
    earlier = before and (lambda: _prober(plugin_type, schema.load(before), state_dir))
    shown = [protocol.decode(each.encode()) for each in orders["shown"]]
    found = {each.target: each.instances for each in shown if isinstance(each, Found)}
    Probing(prober, settings, plugin_type.roles, send, earlier, found).run()


def _prober(plugin_type: PluginType, settings: Any, state_dir: str | None) -> Prober | None:
    prober = plugin_type.prober(settings)
    if prober is not None and state_dir is not None:
        prober.state_dir = Path(state_dir)
    return prober


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Return the process's pipes, moved out of reach of foreign code.

    A type's print() goes to the log, and programs that it starts have no input. The copies are not
    inherited, so that no process of the type keeps the pipes open.
    """
    stdin, stdout = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr = logs.SafeStream()
    return os.fdopen(stdin, "rb"), os.fdopen(stdout, "wb")


def _guard_children() -> None:
    """Lead a process group, and start a guard that kills it when this process ends.

    The guard waits for the end of a pipe that only this process holds: copies that were forked let
    go of it. Without a shell there is no guard.
    """
    with suppress(OSError):
        os.setpgid(0, 0)
        reading, held = os.pipe()  # a bare number, because the kernel must close it at the very end
        nothing = subprocess.DEVNULL
        try:
            guard = subprocess.Popen(
                GUARD, stdin=reading, stdout=nothing, stderr=nothing, cwd="/", env={}
            )
        finally:
            os.close(reading)
        os.register_at_fork(after_in_child=lambda: os.close(held))
        _guards.append(guard)  # otherwise Python would poll for its end again and again


def _exit_with_agent(stdin: BinaryIO) -> None:
    while stdin.read(1):
        pass
    os._exit(0)  # also when threads hang


if __name__ == "__main__":
    sys.exit(main())
