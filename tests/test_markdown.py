"""Tables in the documents are unbroken: GitHub shows rows after a blank line as plain text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.test_docs import DOCUMENTS, ROOT

MARKDOWN = MarkdownIt("commonmark").enable("table")
ALL = [*DOCUMENTS, ROOT / "CHANGELOG.md", *sorted((ROOT / "examples").rglob("*.md"))]


def problems(text: str) -> list[str]:
    """Return the mistakes in the tables of a Markdown document, by line."""
    lines = text.splitlines()
    found = []
    for token in MARKDOWN.parse(text):
        if token.map is None:
            continue
        first, end = token.map
        if token.type == "paragraph_open" and lines[first].lstrip().startswith("|"):
            found.append(f"line {first + 1}: a row that belongs to no table")
        if token.type == "table_open":
            widths = {len(cells(line)) for line in lines[first:end]}
            if len(widths) > 1:
                found.append(f"line {first + 1}: rows of {sorted(widths)} cells in one table")
    return found


def cells(row: str) -> list[str]:
    return re.split(r"(?<!\\)\|", row.strip().removeprefix("|").removesuffix("|"))


@pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(ROOT)))
def test_tables_are_whole(path: Path) -> None:
    assert problems(path.read_text()) == []


def test_a_broken_table_is_found() -> None:
    table = "| a | b |\n| --- | --- |\n| 1 | 2 |\n"
    assert problems(table) == []
    assert problems(f"{table}\n| 3 | 4 |\n") == ["line 5: a row that belongs to no table"]
    assert problems(f"{table}| 3 | x | y |\n") == ["line 1: rows of [2, 3] cells in one table"]
    assert problems(table + r"| a \| b | c |") == []
