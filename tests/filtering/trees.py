"""Random expressions: a tree, ways to write it, and a simple evaluation of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

WORDS = ["a", "ab", "b", "T", "true", "not", "and", "in", "any", "empty", "matches", "is"]
TEXTS = [*WORDS, "", "b c", 'q"q', "back\\slash", "é", "😀", "a\nb", "/T", "12", "-1.5", "a.b", "`"]
NUMBERS = [-1.5, -1, 0, 1, 2, 12]
PATTERNS = ["^a", "b$", "a.*b", "é", "", r"\\", "[0-9]+"]
BINDING = {"or": 0, "and": 1, "not": 2}
NUMBER = r"-?[0-9]+(\.[0-9]+)?"
ORDER = ["<", "<=", ">", ">="]

# By kind: the paths to it in a row; some lead to nothing.
PATHS = {
    "text": [("T",), ("M", "a"), ("M", "b c"), ("M", "gone"), ("R", "T"), ("S", "0")],
    "number": [("N",), ("R", "N"), ("L", "0"), ("L", "5"), ("G", "0", "N")],
    "flag": [("B",), ("Renamed",)],
    "texts": [("S",)],
    "numbers": [("L",)],
    "map": [("M",)],
    "list": [("G",)],
}  # fmt: skip
SHAPES = {
    "text": ["equal", "order", "field", "contains", "matches", "empty", "nil"],
    "number": ["equal", "order", "field", "nil"],
    "flag": ["equal", "nil"],
    "texts": ["contains", "empty", "nil"],
    "numbers": ["contains", "empty", "nil"],
    "map": ["contains", "empty", "nil"],
    "list": ["empty", "nil"],
}

some_text = st.sampled_from(TEXTS)
some_number = st.sampled_from(NUMBERS)
items = st.fixed_dictionaries({"T": some_text, "N": some_number})
rows = st.fixed_dictionaries(
    {
        "T": some_text,
        "N": some_number,
        "B": st.booleans(),
        "Renamed": st.booleans(),
        "S": st.lists(some_text, max_size=3),
        "L": st.lists(some_number, max_size=3),
        "M": st.dictionaries(st.sampled_from(["a", "b c", "T", "not"]), some_text, max_size=3),
        "R": st.none() | items,
        "G": st.lists(items, max_size=2),
    }
)


@dataclass(frozen=True)
class Written:
    """A value and how it is written."""

    value: Any
    text: str
    bare_number: bool = False


@st.composite
def texts(draw: st.DrawFn, *, bare: bool = True) -> Written:
    text = draw(some_text)
    ways = [json.dumps(text, ensure_ascii=False), *([] if "`" in text else [f"`{text}`"])]
    number = re.fullmatch(NUMBER, text) is not None
    if number or (bare and re.fullmatch(r"[A-Za-z]+(\.[a-z]+)?", text)):
        ways.append(text)
    way = draw(st.sampled_from(ways))
    return Written(text, way, number and way == text)


@st.composite
def numbers(draw: st.DrawFn) -> Written:
    value = draw(some_number)
    return Written(value, draw(st.sampled_from([str(value), f'"{value}"', f"`{value}`"])))


@st.composite
def flags(draw: st.DrawFn) -> Written:
    value = draw(st.booleans())
    words = ["true", "True", "TRUE", "t", '"1"'] if value else ["false", "F", "`0`"]
    return Written(value, draw(st.sampled_from(words)))


@st.composite
def path_texts(draw: st.DrawFn, steps: tuple[str, ...]) -> str:
    if draw(st.booleans()):
        return json.dumps("".join("/" + step for step in steps))
    text = steps[0]
    for step in steps[1:]:
        dotted = re.fullmatch(r"[A-Za-z]+|[0-9]+", step) and draw(st.booleans())
        text += f".{step}" if dotted else f"[{json.dumps(step)}]"
    return text


Paths = Mapping[str, list[tuple[str, ...]]]


@st.composite
def terms(draw: st.DrawFn, paths: Paths) -> tuple[str, Any]:
    """Draw one comparison, as text and as a tree."""
    kind = draw(st.sampled_from(sorted(paths)))
    steps = draw(st.sampled_from(paths[kind]))
    left = draw(path_texts(steps))
    no = draw(st.sampled_from(["", "not "]))
    match draw(st.sampled_from(SHAPES[kind])):
        case "empty":
            return f"{left} is {no}empty", ("empty", steps, None, not no)
        case "nil":
            return f"{left} is {no}nil", ("nil", steps, None, not no)
        case "matches":
            pattern = draw(st.sampled_from(PATTERNS))
            return f"{left} {no}matches `{pattern}`", ("matches", steps, pattern, not no)
        case "contains":
            value = draw(numbers() if kind == "numbers" else texts())
            ways = [f"{left} {no}contains {value.text}", f"{value.text} {no}in {left}"]
            return draw(st.sampled_from(ways)), ("contains", steps, value.value, not no)
        case "field":
            other = draw(st.sampled_from([path for path in paths[kind] if path[-1].isidentifier()]))
            operator = draw(st.sampled_from(ORDER if kind == "text" else [*ORDER, "==", "!="]))
            return f"{left} {operator} {'.'.join(other)}", ("field", steps, operator, other)
        case "order":
            value = draw(numbers() if kind == "number" else texts(bare=False))
            operator = draw(st.sampled_from(ORDER))
            return f"{left} {operator} {value.text}", ("order", steps, operator, value)
    value = draw({"text": texts(), "number": numbers(), "flag": flags()}[kind])
    operator = "!=" if no else "=="
    return f"{left} {operator} {value.text}", ("equal", steps, value.value, not no)


@st.composite
def each(draw: st.DrawFn, name: str) -> tuple[str, Any]:
    """Draw an any or all over one of a row's own lists and maps."""
    bound: dict[str, dict[str, list[tuple[str, ...]]]] = {
        "S": {"text": [(name,)]},
        "L": {"number": [(name,)]},
        "M": {"text": [(name,)]},
        "G": {"text": [(name, "T")], "number": [(name, "N")]},
    }
    quantifier = draw(st.sampled_from(["any", "all"]))
    source = draw(st.sampled_from(sorted(bound)))
    text, tree = draw(expressions({**bound[source], "flag": [("B",)]}, depth=1))
    return f"{quantifier} {source} as {name} {{ {text} }}", (quantifier, source, name, tree)


@st.composite
def expressions(draw: st.DrawFn, paths: Paths = PATHS, depth: int = 3) -> tuple[str, Any]:
    """Draw an expression as text, with the parentheses that it needs or more, and as a tree."""
    shape = draw(st.sampled_from(["term", "not", "and", "or", "each"] if depth else ["term"]))
    if shape == "term" or (shape == "each" and paths is not PATHS):
        return draw(terms(paths))
    if shape == "each":
        return draw(each(draw(st.sampled_from(["x", "T", "q_1"]))))
    count = 1 if shape == "not" else draw(st.integers(2, 3))
    parts = [draw(expressions(paths, depth - 1)) for _ in range(count)]
    weakest = {"or": 1, "and": 2, "not": 2}[shape]
    written = [
        f"({text})" if BINDING.get(tree[0], 3) < weakest or draw(st.booleans()) else text
        for text, tree in parts
    ]
    text = f"not {written[0]}" if shape == "not" else f" {shape} ".join(written)
    return text, (shape, [tree for _, tree in parts])


def naive(tree: Any, row: Mapping[str, Any]) -> bool:
    """Evaluate a tree for a row."""
    match tree:
        case ("or", trees):
            return True in [naive(one, row) for one in trees]
        case ("and", trees):
            return False not in [naive(one, row) for one in trees]
        case ("not", [one]):
            return not naive(one, row)
        case ("any", source, name, inner):
            return True in [naive(inner, {**row, name: item}) for item in row[source]]
        case ("all", source, name, inner):
            return False not in [naive(inner, {**row, name: item}) for item in row[source]]
    return naive_term(tree, row)


def naive_term(tree: Any, row: Mapping[str, Any]) -> bool:
    shape, steps, what, other = tree
    value = found(row, steps)
    match shape:
        case "empty":
            return (value in (None, "", [], {})) == other
        case "nil":
            return (value is None) == other
        case "matches":
            pattern = what.replace("$", r"\Z")
            return (value is not None and re.search(pattern, value) is not None) == other
        case "contains":
            return (value is not None and what in value) == other
        case "equal":
            return (value == what) == other
        case "field" if what in ("==", "!="):
            return (value is not None and value == found(row, other)) == (what == "==")
        case "field":
            return is_ordered(value, what, found(row, other))
    if other.bare_number and isinstance(value, str):
        value = float(value) if re.fullmatch(NUMBER, value) else None
        return is_ordered(value, what, float(other.value))
    return is_ordered(value, what, other.value)


def found(row: Any, steps: tuple[str, ...]) -> Any:
    for step in steps:
        if isinstance(row, list):
            row = row[int(step)] if int(step) < len(row) else None
        else:
            row = row.get(step) if row is not None else None
    return row


def is_ordered(one: Any, operator: str, two: Any) -> bool:
    if one is None or two is None:
        return False
    return {"<": one < two, "<=": one <= two, ">": one > two, ">=": one >= two}[operator]
