"""A small agent and its prober, both as scripts.

``rogue.py agent FOLDER`` supervises a prober whose code starts processes of both kinds, writes
their IDs to FOLDER, and then holds the interpreter lock forever. ``rogue.py prober`` is that
prober.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from marshmallow import fields

from plugind.agent.prober.child import serve
from plugind.agent.supervisor.orphans import Orphans
from plugind.agent.supervisor.supervisor import Supervisor
from plugind.plugin_type import PluginType, Prober, Settings, SettingsSchema, WireSchema

# "sleep 600" in the prober's own process group, and one that left it.
START = "sleep 600 & echo $! >> {0}/grouped; setsid sleep 600 & echo $! >> {0}/escaped"


@dataclass(frozen=True)
class RogueSettings(Settings):
    folder: str


class RogueSchema(SettingsSchema):
    record: ClassVar[type[Any] | None] = RogueSettings
    folder = fields.String(required=True)


class RogueProber(Prober):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def discover(self) -> Mapping[str, str]:
        return {"one": "one"}

    def probe(self, target: str) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        subprocess.run(["/bin/sh", "-c", START.format(self.folder)], check=True)
        (self.folder / "prober").write_text(f"{os.getpid()}\n")
        re.match(r"(a+)+$", "a" * 64 + "b")  # takes 2^64 steps without releasing the lock
        return {}


class RogueType(PluginType):
    plugind_api = 1
    name = "rogue"
    roles: ClassVar[Mapping[str, str]] = {"node": "Nodes"}
    default_role = "node"
    settings_schema = RogueSchema
    fingerprint_schemas: ClassVar[Mapping[str, type[WireSchema]]] = {"node": WireSchema}

    def prober(self, settings: RogueSettings) -> Prober:
        return RogueProber(Path(settings.folder))


def agent(folder: str) -> None:
    supervisor = Supervisor(
        "rogue", [sys.executable, __file__, "prober"], {"folder": folder}, lambda: None
    )
    orphans = Orphans(lambda: [supervisor.pid] if supervisor.pid else [], grace=0.1)
    orphans.start()
    supervisor.start()
    print("started", flush=True)
    sys.stdin.read()
    supervisor.stop()
    orphans.stop()


if __name__ == "__main__":
    if sys.argv[1] == "prober":
        sys.exit(serve(RogueType))
    agent(sys.argv[2])
