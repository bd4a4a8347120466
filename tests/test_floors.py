"""The structure of plugind: which room may import which, and where some libraries may be used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from pkgutil import resolve_name

import pytest

from plugind.types.registry import load_registry

ROOT = Path(__file__).parent.parent

# A room may import the rooms of lower floors, and those listed before it on its own floor.
FLOORS = [
    [
        "absent",
        "lazy",
        "without_rich",
        "errors",
        "printable",
        "hints",
        "handover",
        "tally",
        "logs",
        "model",
        "wire",
        "fields",
        "health",
        "toolbox",
    ],
    ["plugin_type", "schemas", "filtering", "config", "acl", "client"],
    ["store", "state", "availability", "types", "agent"],
    ["feed", "catalogue", "events", "intake", "metrics"],
    ["api"],
    ["ui"],
    ["serve"],
    ["processes"],
    ["testing", "cli", "hosted", "asgi", "wsgi", "init", "entry", "__main__"],
]
HEIGHTS = {room: number for number, room in enumerate(chain.from_iterable(FLOORS))}

# The public modules for authors of plugin types.
PUBLIC_FACE = {"plugin_type", "errors", "model", "fields", "logs", "toolbox"}

# Their tests may import this module as well.
AUTHORS_FACE = PUBLIC_FACE | {"testing"}

_RESOLVED_BY_NAME = re.compile(r"(plugind|plugin_types)(\.\w+)+:\w+")


def modules(folder: str) -> list[Path]:
    return [path for path in sorted((ROOT / folder).rglob("*.py")) if "_pb2" not in path.name]


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the imports of a module by dotted name, including names that are resolved later."""
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


def _used_rooms(here: str) -> set[str]:
    """Return the rooms that the modules of a room import, without itself."""
    names = {
        name
        for path in modules("plugind")
        if path.relative_to(ROOT / "plugind").parts[0].removesuffix(".py") == here
        for name in imports(ast.parse(path.read_text()))
        if name.startswith("plugind.")
    }
    return {room(name) for name in names} & set(HEIGHTS) - {here}


def test_the_document_of_the_architecture_has_the_rooms_of_the_code() -> None:
    text = (ROOT / "docs/architecture.md").read_text().partition("## Rooms")[2]
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]*)\|$", text.partition("\n## ")[0], re.M)
    assert [here for here, _ in rows] == list(HEIGHTS), "the rows have the order of FLOORS"
    for here, cell in rows:
        used = sorted(_used_rooms(here), key=HEIGHTS.__getitem__)
        assert re.findall(r"\w+", cell) == used, (
            f"{here} uses: {', '.join(f'`{name}`' for name in used)}"
        )


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


def test_code_shown_to_authors_uses_public_modules_only() -> None:
    """Check the templates of "plugind type new" and the document for authors of plugin types."""
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
    assert HEIGHTS["api"] > HEIGHTS["intake"] > HEIGHTS["feed"]


def test_modules_stay_short() -> None:
    long = {
        path.name: lines
        for path in modules("plugind") + modules("plugin_types")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long


def test_what_only_clients_need_is_imported_when_it_is_needed() -> None:
    """Import the client role only when needed: a server without it is smaller and starts sooner."""
    shown = (
        "print(*sorted(name for name in ('requests', 'plugind.agent.agent') if name in modules))"
    )
    for more, found in (
        ("", ""),
        ("plugind.client.Client\n", "requests"),
        ("plugind.agent.Agent\n", "plugind.agent.agent requests"),
    ):
        code = f"import plugind.cli.agent\nfrom sys import modules\n{more}{shown}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.returncode, done.stdout.strip()) == (0, found), done.stderr


HEAVY = {
    *("apispec", "flask", "hcl2", "jinja2", "lark", "prometheus_client", "psutil", "re2"),
    *("requests", "rich", "werkzeug"),
    *("plugind.agent.agent", "plugind.api", "plugind.serve.services", "plugind.ui"),
}
"""Modules that use much memory, or take long to import."""

AGENT = "import plugind.cli.agent"
"""Everything that a process loads at its start; a parent of worker processes needs nothing else."""

IN_THIS_PROCESS = f"{AGENT}; from plugind import serve; serve.create_app, serve.waitress_server"
WORKER = "import plugind.cli.worker; from plugind import serve; serve.create_asgi"
SERVES = {"plugind.api", "plugind.serve.services", "plugind.ui", "werkzeug"}


@pytest.mark.parametrize(
    ("imported", "heavy"),
    [
        (AGENT, set()),
        (IN_THIS_PROCESS, {*SERVES, "flask", "jinja2"}),
        (WORKER, SERVES),
        ("import plugind.cli", set()),
    ],
)
def test_a_process_imports_what_it_needs(imported: str, heavy: set[str]) -> None:
    code = f"{imported}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert HEAVY & set(done.stdout.split()) == heavy


@pytest.mark.parametrize("package", ["client", "agent", "filtering", "serve"])
def test_names_that_are_imported_later_have_types(package: str) -> None:
    folder = ROOT / "plugind" / package
    stub = ast.parse((folder / "__init__.pyi").read_text())
    module = resolve_name(f"plugind.{package}")
    typed = {alias.asname for node in stub.body for alias in getattr(node, "names", ())}
    assert typed == set(module.__all__)
    assert all(getattr(module, name) is not None for name in module.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        module.nothing  # noqa: B018 - the look is the test


def test_one_module_knows_flask() -> None:
    """Allow flask in one module only, so all others can serve another HTTP server."""
    found = {
        path.name
        for path in modules("plugind")
        for name in imports(ast.parse(path.read_text()))
        if name.split(".")[0] == "flask"
    }
    assert found == {"flask_port.py"}


@pytest.mark.parametrize("path", modules("plugind/catalogue"), ids=lambda path: path.name)
def test_the_catalogue_has_no_thread_and_parks_no_request(path: Path) -> None:
    """Allow the catalogue locks only, since any thread calls it; the HTTP servers park requests."""
    tree = ast.walk(ast.parse(path.read_text()))
    names = {node.attr for node in tree if isinstance(node, ast.Attribute)}
    assert names.isdisjoint({"Thread", "Event", "Condition", "sleep", "Timer", "Queue"})
