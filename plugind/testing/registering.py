"""Registers a plugin type without a package, for the tests of its author."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from plugind.errors import RegistryError
from plugind.plugin_type import ENTRY_POINT_GROUP, PluginType
from plugind.types.registry import load_registry

_MODULE = """\
from pkgutil import resolve_name

from plugind.plugin_type import hookimpl


@hookimpl
def plugind_plugin_types():
    return [resolve_name({class_!r})()]
"""


@contextmanager
def registered(type_: type[PluginType]) -> Iterator[str]:
    """Register a plugin type while the block lasts, for this process and those that it starts.

    Yield its name. The type is registered as pip would do it, with a module and its entry point, in
    a temporary folder; neither is needed for a class that an installed package provides. Raise
    RegistryError for a class that another process could not import.
    """
    if type(load_registry().installed.get(type_.name)) is type_:
        yield type_.name
        return
    if "<" in type_.__qualname__ or type_.__module__ == "__main__":
        raise RegistryError(f"{type_.__qualname__} must stand at the top of a module of its own")
    with TemporaryDirectory(prefix="plugind-") as folder, ExitStack() as until_end:
        _install(Path(folder), type_)
        until_end.callback(sys.path.remove, folder)
        sys.path.insert(0, folder)
        until_end.callback(_set_path, os.environ.get("PYTHONPATH"))
        _set_path(os.pathsep.join(path or os.getcwd() for path in sys.path))
        importlib.invalidate_caches()
        yield type_.name


def _install(folder: Path, type_: type[PluginType]) -> None:
    module = f"registered_{folder.name.replace('-', '_')}"
    class_ = f"{type_.__module__}:{type_.__qualname__}"
    (folder / f"{module}.py").write_text(_MODULE.format(class_=class_))
    info = folder / f"{module}-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 0\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\n{type_.name} = {module}\n")


def _set_path(path: str | None) -> None:
    """Set PYTHONPATH for processes that start from now on; None removes it."""
    if path is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = path
