"""The process for a prober's trial: ``python -m plugind.testing.child TYPE NOTES``.

It runs the type's own prober as an agent's child process does, together with the actors
(``plugind.testing.actors``), and notes the prober's calls in the file NOTES.
"""

from __future__ import annotations

import sys
from pathlib import Path

from plugind import logs
from plugind.agent.prober.child import serve
from plugind.testing.actors import Pen, on_trial
from plugind.types.registry import plugin_type


def main() -> int:
    name, notes = sys.argv[1:]
    logs.configure("ERROR")  # the actors misbehave on purpose
    pen = Pen(Path(notes))
    return serve(lambda: on_trial(plugin_type(name), pen))


if __name__ == "__main__":
    sys.exit(main())
