"""A third-party package with four plugin types that each misbehave in a different way.

It is installed as pip would install it, into a folder for PYTHONPATH.
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
    """Install the package into a folder below the given one, and return the new folder."""
    installed = folder / "misbehaving"
    info = installed / "misbehaving-1.0.dist-info"
    info.mkdir(parents=True)
    (installed / "misbehaving.py").write_text(_SOURCE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[plugind]\nmisbehaving = misbehaving\n")
    return installed
