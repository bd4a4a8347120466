"""A prober's process on trial: ``python -m plugind.testing.child TYPE NOTES``.

It runs the type's own prober as an agent's child does, beside targets of other kinds
(``plugind.testing.actors``), and notes what happens in the file NOTES.
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
