"""Measure how plain the code reads: rooms, private helpers, imperative docstrings, dialect words.

``python tools/plain_english.py [--list] [PATH ...]`` prints the figures for the product and its
documents, or for the given files and folders; ``--list`` adds the places that were counted.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("plugind", "plugin_types", "examples")
DOCUMENTS = ("docs", "README.md", "CHANGELOG.md")
LONGEST = 10
THIS = Path(__file__).resolve()

# Words of the dialect that the code was first written in, as regular expressions, each with the
# words to use instead. Case does not matter.
DIALECT = {
    r"(?<!csi-)(told|tell|tells|telling)": "report, say, notify",
    r"whoever|whomever": "the caller, the client, the author",
    r"somebody": "a client, another process",
    r"strangers?": "client, unauthenticated caller, third party",
    r"judg(e|es|ed|ing)": "validate, filter",
    r"flaws?": "problem",
    r"mend|mends|mended": "correct, repair",
    r"anew": "again",
    r"silent|silence": "down, without a message",
    r"what is": "the",
    r"of which": "whose, of these",
    r"that there are": "the, all",
    r"so (many|much)": "that many",
    r"shall": "must",
    r"for ever": "forever",
    r"lest": "so that ... not",
    r"(ran|run|runs) out": "expire",
    r"no good": "invalid",
    r"findings": "results",
    r"holdings": "state",
    r"is news": "is a change",
    r"deaf|mourns?|house": "a word of the field",
}

# Dialect words in names of functions, arguments, variables, attributes and classes.
DIALECT_NAMES = {
    "told", "tell", "tells", "telling", "whoever", "somebody", "stranger", "strangers", "judge",
    "judges", "judged", "judging", "flaw", "flaws", "silent", "findings", "holdings", "mourn",
}  # fmt: skip

# The verbs that a docstring may open with. The file has one verb per line; add missing ones.
VERBS = frozenset((ROOT / "tools" / "verbs.txt").read_text().split())

# A verb of the list that is followed by one of these words is a noun: "Name of", "State is".
_NOUN_FOLLOWERS = {"of", "is", "are", "was", "has"}
_PREFIX = re.compile(r"^(re|un|de|pre)-?(?=\w{3})")


@dataclass(frozen=True)
class Place:
    """A place in a file, and a text that describes it."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{shown(self.path)}:{self.line}: {self.text}"


@dataclass
class Figures:
    """The counts over a set of files."""

    rooms: set[str] = field(default_factory=set)
    functions: int = 0
    lengths: list[tuple[int, Place]] = field(default_factory=list)
    called_once: list[Place] = field(default_factory=list)
    docstrings: int = 0
    not_imperative: list[Place] = field(default_factory=list)
    dialect: list[tuple[str, Place]] = field(default_factory=list)


def shown(path: Path) -> Path:
    """Return a path as it is printed: relative to the repository if it is inside."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def is_imperative(docstring: str) -> bool:
    """Return whether a docstring opens with an imperative verb.

    The first word must be a verb of ``VERBS`` without an ending, possibly with a prefix
    ("re-read"), and not be used as a noun: "Name the node" is imperative, "Name of the node" is
    not.
    """
    words = docstring.split()
    if not words or not words[0][0].isupper():
        return False
    first = words[0].rstrip(",;.").lower()
    if first not in VERBS and _PREFIX.sub("", first) not in VERBS:
        return False
    return len(words) == 1 or words[1].lower() not in _NOUN_FOLLOWERS


def dialect_in(text: str) -> Iterator[tuple[str, int]]:
    """Yield each dialect word of a text, with the number, from 0, of the line it begins in."""
    for pattern in DIALECT:
        spaced = pattern.replace(" ", r"[\s#]+")
        for match in re.finditer(rf"\b({spaced})\b", text, re.IGNORECASE):
            word = " ".join(match[0].replace("#", " ").lower().split())
            yield word, text.count("\n", 0, match.start())


def measure(paths: Sequence[Path]) -> Figures:
    """Return the figures for files and folders; generated files and caches are left out.

    Raise SyntaxError for a Python file that does not parse.
    """
    figures = Figures()
    for path in sorted(files(paths)):
        text = path.read_text()
        if path.suffix == ".md":
            _add_dialect(figures, path, "documents", text, 1)
        else:
            _add_module(figures, path, text)
    return figures


def files(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the Python files and Markdown documents among the paths and inside the folders."""
    for path in paths:
        inside = [path] if path.is_file() else path.rglob("*")
        for each in inside:
            generated = "_pb2" in each.name or any(part.startswith(".") for part in each.parts)
            if each.suffix in (".py", ".md") and not generated:
                yield each


def _add_module(figures: Figures, path: Path, text: str) -> None:
    tree = ast.parse(text)
    if room := _room(path):
        figures.rooms.add(room)
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    figures.functions += len(functions)
    for node in functions:
        figures.lengths.append((_length(node), Place(path, node.lineno, node.name)))
        if docstring := ast.get_docstring(node):
            figures.docstrings += 1
            if not is_imperative(docstring):
                opening = docstring.splitlines()[0]
                place = Place(path, node.body[0].lineno, f"{node.name}: {opening}")
                figures.not_imperative.append(place)
    figures.called_once += _called_once(path, tree, functions)
    for kind, line, words in _texts(tree, text):
        if kind != "messages" or path.resolve() != THIS:  # the list of the dialect itself
            _add_dialect(figures, path, kind, words, line)
    for name, line in _names(tree):
        for word in re.findall(r"[A-Z]?[a-z]+", name):
            if word.lower() in DIALECT_NAMES:
                figures.dialect.append(("names", Place(path, line, f"{word.lower()} ({name})")))


def _room(path: Path) -> str:
    """Return the room of a module: the folder or module below plugind, or the plugin type."""
    parts = shown(path).with_suffix("").parts
    in_room = len(parts) > 1 and parts[0] in ("plugind", "plugin_types") and parts[1] != "__init__"
    return ".".join(parts[:2]) if in_room else ""


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of a function's lines from its def on, without its docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node) is None:
        return lines
    docstring = node.body[0]
    return lines - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


def _called_once(
    path: Path, tree: ast.Module, functions: Sequence[ast.FunctionDef | ast.AsyncFunctionDef]
) -> Iterator[Place]:
    """Yield the private functions that are called from only one place in their module.

    Functions with the same name, as in two classes, are counted together. A function that is passed
    on (to a thread, or as a callback) needs a name and does not count. Neither does a method whose
    only call is the one that it makes to its base class: it overrides a hook of a library.
    """
    used: Counter[str] = Counter()
    called: Counter[str] = Counter()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
                called[name] += 1
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name):
                used[name] -= 1
        match node:
            case ast.Attribute(attr=name) | ast.Name(id=name):
                used[name] += 1
    private = [node for node in functions if re.match("_(?!_)", node.name)]
    defined = Counter(node.name for node in private)
    for node in private:
        if 0 < used[node.name] <= defined[node.name] and called[node.name] >= used[node.name]:
            yield Place(path, node.lineno, f"{node.name} ({_length(node)} lines)")


def _texts(tree: ast.Module, text: str) -> Iterator[tuple[str, int, str]]:
    """Yield (kind, line, text) of a module's docstrings, comments and messages."""
    lone = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield "docstrings" if id(node) in lone else "messages", node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield "comments", token.start[0], token.string


def _names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield each name that a module defines: functions, classes, arguments, variables."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno
            case ast.arg():
                yield node.arg, node.lineno
            case ast.Name(ctx=ast.Store()):
                yield node.id, node.lineno
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr, node.lineno


def _add_dialect(figures: Figures, path: Path, kind: str, text: str, line: int) -> None:
    for word, lines_down in dialect_in(text):
        figures.dialect.append((kind, Place(path, line + lines_down, word)))


def share(part: int, whole: int) -> str:
    """Return a share in percent, with the two numbers behind it."""
    return f"{100 * part / whole if whole else 0:.1f} % ({part} of {whole})"


def report(figures: Figures, *, list_all: bool) -> Iterator[str]:
    """Yield the lines of a report on the figures; ``list_all`` adds the places counted."""
    once, other = figures.called_once, figures.not_imperative
    yield f"rooms: {len(figures.rooms)}"
    yield f"functions: {figures.functions}"
    yield f"private functions called from one place: {share(len(once), figures.functions)}"
    yield from (f"  {place}" for place in once if list_all)
    yield "longest functions, in lines without docstrings:"
    longest = sorted(figures.lengths, key=lambda pair: -pair[0])[:LONGEST]
    yield from (f"  {length} {place}" for length, place in longest)
    imperative = figures.docstrings - len(other)
    yield f"imperative docstrings of functions: {share(imperative, figures.docstrings)}"
    yield from (f"  {place}" for place in other if list_all)
    kinds = Counter(kind for kind, _ in figures.dialect)
    by_kind = ", ".join(f"{kind} {number}" for kind, number in sorted(kinds.items()))
    yield f"dialect words: {len(figures.dialect)}" + (f" ({by_kind})" if by_kind else "")
    words = Counter(place.text for kind, place in figures.dialect if kind != "names")
    yield from (f"  {number} {word}" for word, number in words.most_common())
    yield from (f"  {place} in {kind}" for kind, place in figures.dialect if list_all)


def main() -> None:
    """Print the figures that the command line requests."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="print the places, too")
    parser.add_argument("paths", nargs="*", type=Path, help="files and folders to count")
    arguments = parser.parse_args()
    paths = arguments.paths or [ROOT / name for name in (*PRODUCT, *DOCUMENTS)]
    for line in report(measure(paths), list_all=arguments.list):
        print(line)


if __name__ == "__main__":
    main()
