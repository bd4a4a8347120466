"""A prober's process: ``python -m plugind.agent.child TYPE LOG_LEVEL text|json``.

Its first line on standard input is JSON: the type's block as ``settings``, and after a reload the
one that was in force as ``before`` (else null) and what is ``shown`` of targets with healthy
instances, each as the line that would tell it; then the end of input means that the agent is gone.
Standard output carries the lines of ``plugind.agent.lines`` and nothing else.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from marshmallow import ValidationError

from plugind import logs, registry
from plugind.agent import lines
from plugind.agent.lines import Found, Idle, Message
from plugind.agent.probing import Probing
from plugind.errors import PlugindError
from plugind.plugin_type import PluginType

_log = logs.get("prober")


def main() -> int:
    """Probes for the plugin type that the command line names; returns the exit status."""
    name, level, form = sys.argv[1:]
    logs.configure(level, json=form == "json")
    return serve(lambda: registry.plugin_type(name))


def serve(load: Callable[[], PluginType]) -> int:
    """Probes for the plugin type that ``load`` returns until the agent is gone.

    ``load`` runs third parties' code, so the agent is watched for before it is called. Returns the
    exit status: 1, after logging why, when the type or its settings cannot be used.
    """
    _go_first()
    stdin, stdout = _take_pipes()
    _set_signals()
    orders = stdin.readline()
    threading.Thread(target=_exit_with_agent, args=(stdin,), daemon=True).start()
    try:
        _run(load(), orders, Sender(stdout))
    except ValidationError as error:
        _log.error("bad settings; mend the plugin_type block", mistakes=str(error.messages))
    except PlugindError as error:
        _log.error(str(error))
    except Exception:
        _log.error("the plugin type is broken", exc_info=True)
    else:
        return 0
    return 1


class Sender:
    """Writes messages as lines, one at a time, from whichever thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, message: Message) -> None:
        line = lines.encode(message)
        with self._lock:
            try:
                self._stream.write(line)
                self._stream.flush()
            except OSError:
                os._exit(0)  # nobody listens: the agent is gone


def _run(plugin_type: PluginType, line: bytes, send: Sender) -> None:
    orders = json.loads(line)
    schema = plugin_type.settings_schema()
    settings = schema.load(orders["settings"])
    prober = plugin_type.prober(settings)
    if prober is None:
        send(Idle())
        return
    before = orders["before"]
    earlier = before and (lambda: plugin_type.prober(schema.load(before)))
    shown = [lines.decode(each.encode()) for each in orders["shown"]]
    found = {each.target: each.instances for each in shown if isinstance(each, Found)}
    Probing(prober, settings, plugin_type.roles, send, earlier, found).run()


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keeps both pipes out of reach: a type's print() goes to the log, what it starts has no input.

    The copies are not inherited, so that no process of the type's keeps the pipes open.
    """
    stdin, stdout = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return os.fdopen(stdin, "rb"), os.fdopen(stdout, "wb")


def _go_first() -> None:
    """When the machine has no memory left the kernel shall end this process before the agent."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _set_signals() -> None:
    """Ctrl-C reaches the whole process group, but it is the agent that ends its children."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _exit_with_agent(stdin: BinaryIO) -> None:
    while stdin.read(1):
        pass
    os._exit(0)  # whatever threads hang


if __name__ == "__main__":
    sys.exit(main())
