"""A package of a stranger's with four plugin types that misbehave, one in each way.

Installed as pip would, into a folder that PYTHONPATH then names.
"""

from __future__ import annotations

from pathlib import Path

NAMES = ("hangs", "raises", "hogs", "floods")

_SOURCE = """
import time

from plugind.plugin_type import PluginType, Prober, WireSchema, hookimpl


class Hangs(Prober):
    def discover(self):
        return {"hung": None}

    def probe(self, target):
        while True:
            time.sleep(3600)


class Raises(Prober):
    def discover(self):
        raise RuntimeError("out of order")


class Hogs(Prober):
    def discover(self):
        return {"hog": None}

    def probe(self, target):
        eaten = []
        while True:
            eaten.append(b"x" * (4 << 20))
            time.sleep(0.005)


class Floods(Prober):
    def discover(self):
        return {"flood": ("f", 100_000), **{f"drop{each}": (f"d{each}", 900) for each in range(3)}}

    def probe(self, target):
        name, number = target
        return {(f"{name}-{each}", "node"): {"Healthy": True} for each in range(number)}


def of(name_, prober_):
    class Type(PluginType):
        plugind_api = 1
        name = name_
        roles = {"node": "Nodes"}
        default_role = "node"
        fingerprint_schemas = {"node": WireSchema}

        def prober(self, settings):
            return prober_()

    return Type()


@hookimpl
def plugind_plugin_types():
    return [of(each.__name__.lower(), each) for each in (Hangs, Raises, Hogs, Floods)]
"""


def install(folder: Path) -> Path:
    """Installs the package into a folder of that one's, and returns it."""
    installed = folder / "strangers"
    info = installed / "strangers-1.0.dist-info"
    info.mkdir(parents=True)
    (installed / "strangers.py").write_text(_SOURCE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[plugind]\nstrangers = strangers\n")
    return installed
