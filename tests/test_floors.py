"""The house's structure: who may import whom, and who may not know of whom."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from plugind.registry import load_registry

ROOT = Path(__file__).parent.parent

# A room may import the rooms of lower floors, and those named before it on its own.
FLOORS = [
    ["errors", "fields", "model", "logs", "strict_json", "toolbox"],
    [
        "plugin_type",
        "allocation_schemas",
        "plugin_schemas",
        "node_schemas",
        "filtering",
        "config",
        "acl",
        "client",
    ],
    ["store", "flaws", "tracing", "registry", "configured", "agent"],
    ["catalogue", "intake"],
    ["liveness", "announcing"],
    ["api"],
    ["app"],
    ["server"],
    ["testing", "cli", "__main__"],
]
HEIGHTS = {room: number for number, room in enumerate(chain.from_iterable(FLOORS))}

# What plugind promises to those who write plugin types.
PUBLIC_FACE = {"plugin_type", "errors", "model", "fields", "logs", "toolbox"}

# And their tests may have.
AUTHORS_FACE = PUBLIC_FACE | {"testing"}

_RESOLVED_BY_NAME = re.compile(r"(plugind|plugin_types)(\.\w+)+:\w+")


def modules(folder: str) -> list[Path]:
    return [path for path in sorted((ROOT / folder).rglob("*.py")) if "_pb2" not in path.name]


def imports(tree: ast.AST) -> Iterator[str]:
    """What a module imports, by dotted name; names resolved later by name count as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and _RESOLVED_BY_NAME.fullmatch(str(node.value)):
            yield str(node.value).partition(":")[0]


def room(dotted: str) -> str:
    return dotted.split(".")[1] if "." in dotted else ""


@pytest.mark.parametrize("path", modules("plugind"), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path: Path) -> None:
    here = path.relative_to(ROOT / "plugind").parts[0].removesuffix(".py")
    if here == "__init__":
        here = "errors"  # the package itself stands on the ground
    tree = ast.parse(path.read_text())
    for name in imports(tree):
        assert not name.startswith("plugin_types"), f"{path.name} knows the plugin type in {name}"
        there = room(name)
        if name.startswith("plugind.") and there in HEIGHTS and there != here:
            assert HEIGHTS[there] < HEIGHTS[here], f"{here} may not import {name}"


def test_every_room_has_its_floor() -> None:
    rooms = {
        path.relative_to(ROOT / "plugind").parts[0].removesuffix(".py")
        for path in modules("plugind")
    }
    assert rooms - {"__init__"} == set(HEIGHTS)


@pytest.mark.parametrize(
    "path",
    modules("plugind") + modules("plugin_types"),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_import_hides_in_a_function(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.If | ast.Try):
            inner = [
                each for each in ast.walk(node) if isinstance(each, ast.Import | ast.ImportFrom)
            ]
            assert not inner, f"{path.name}:{inner[0].lineno} imports inside a function or block"


@pytest.mark.parametrize(
    "path", modules("plugin_types"), ids=lambda path: str(path.relative_to(ROOT))
)
def test_plugin_types_use_the_public_face_only(path: Path) -> None:
    own = path.relative_to(ROOT / "plugin_types").parts[0]
    for name in imports(ast.parse(path.read_text())):
        if name.startswith("plugind."):
            assert room(name) in PUBLIC_FACE, f"{path.name} imports {name}"
        if name.startswith("plugin_types."):
            assert room(name) == own, f"{path.name} imports its neighbour {name}"


def test_what_strangers_are_shown_uses_what_they_may_use() -> None:
    """The templates of "plugind type new", and the document for authors."""
    templates = [path.read_text() for path in ROOT.glob("plugind/cli/new_type/*.py.tmpl")]
    shown = [*templates, (ROOT / "docs/plugin-types.md").read_text()]
    found = {room for text in shown for room in re.findall(r"from plugind\.(\w+)", text)}
    assert len(templates) == 4
    assert "testing" in found
    assert found <= AUTHORS_FACE
    assert [room for room in AUTHORS_FACE if f"`plugind.{room}`" not in shown[-1]] == []


@pytest.mark.parametrize("path", modules("plugind"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_names_no_plugin_type(path: Path) -> None:
    types = load_registry().types
    assert types, "without plugin types this test could not fail"
    for name in types:
        found = re.search(rf"(?i)(?<![a-z-]){re.escape(name)}(?![a-z-])", path.read_text())
        assert found is None, f"{path.name} names the plugin type {name}"


def test_the_rules_themselves_can_fail() -> None:
    tree = ast.parse("from plugind.api import reply\nx = 'plugind.cli.agent:agent'")
    assert sorted(imports(tree)) == ["plugind.api.reply", "plugind.cli.agent"]
    assert HEIGHTS["api"] > HEIGHTS["intake"] > HEIGHTS["catalogue"]


def test_modules_stay_short() -> None:
    long = {
        path.name: lines
        for path in modules("plugind") + modules("plugin_types")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long
