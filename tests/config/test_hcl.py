"""HCL and JSON text to a tree: values, positions, and errors."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from plugind.config import hcl_json, scan
from plugind.config.hcl import parse_text
from plugind.config.reading import parse_file
from plugind.config.text import SIZE_MAXIMUM
from plugind.config.tree import Body, Place
from plugind.errors import ConfigError

START = Place("f")
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_-]{0,8}", fullmatch=True)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
nasty = st.text(st.sampled_from(list('${}%"\\\n\r\t#/*<>-EOF ué')), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | nasty
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(names | texts | nasty, inner, max_size=4)
    ),
    max_leaves=12,
)


def hcl_string(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    plain = "".join(escapes.get(character, character) for character in text)
    return '"' + plain.replace("${", "\\u0024{").replace("%{", "\\U00000025{") + '"'


def hcl(value: Any) -> str:
    match value:
        case str():
            return hcl_string(value)
        case list():
            return "[" + ", ".join(map(hcl, value)) + "]"
        case dict():
            members = [f"{hcl_string(key)} = {hcl(inner)}" for key, inner in value.items()]
            return "{\n" + ",\n".join(members) + "\n}"
        case float():
            text = repr(value)
            return text if "." in text else text.replace("e", ".0e")
    return json.dumps(value)


def value_of(text: str) -> Any:
    (attribute,) = parse_text(f"x = {text}", START).attributes
    return attribute.value


def mistakes(text: str) -> list[tuple[int, int, str]]:
    with pytest.raises(ConfigError) as raised:
        parse_text(text, START)
    return [(mistake.line, mistake.column, mistake.text) for mistake in raised.value.mistakes]


@patient
@given(values)
def test_a_value_written_as_hcl_comes_back(value: Any) -> None:
    found = value_of(hcl(value))
    assert found == value
    assert json.dumps(found) == json.dumps(value)  # 1 is neither 1.0 nor true


@patient
@given(st.dictionaries(names, values, max_size=5))
def test_a_value_written_as_json_comes_back(value: dict[str, Any]) -> None:
    assert _plain(hcl_json.parse_text(json.dumps(value), START)) == value
    assert _plain(hcl_json.parse_text(json.dumps(value, indent=1), START)) == value


def _plain(body: Body) -> dict[str, Any]:
    blocks = {block.type: _plain(block.body) for block in body.blocks}
    return blocks | {attribute.name: attribute.value for attribute in body.attributes}


LEXEMES = [
    *"{}[]()=,:.?!-+*/%<>&|~\"'\\#\n\r\t \0@$é",
    *("${", "%{", "$${", "%%{", "<<E\n", "<<-E\n", "\nE\n", "//", "/*", "*/", "=>", "...", "::"),
    *("a", "if", "for", "in", "true", "null", "1", "-1", "1.5", "1e9", '"x"', "[*]", ".*"),
    *("\\u00e9", "\\q", "\ufeff", "\u2028"),
]


@settings(patient, max_examples=300)
@given(st.text(max_size=60) | st.lists(st.sampled_from(LEXEMES), max_size=30).map("".join))
@example("a = <<E\n\n\nE\n")
@example('a = "$${"\nb = "}"')
@example('a = "%{ if true }"')
@example("\ud800")
def test_any_text_is_a_tree_or_a_mistake(text: str) -> None:
    for parse in (parse_text, hcl_json.parse_text):
        try:
            parse(text, START)
        except ConfigError as error:
            for mistake in error.mistakes:
                assert mistake.source == "f"
                assert mistake.line <= text.count("\n") + 1
                assert len(str(mistake).splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '"' * 200_000,
        "<<E\n" * 100_000,
        "/*" * 200_000,
        "a{" * 100_000,
        'x = "' + "${" * 100_000,
        'x = "' + '\\"' * 100_000,
        "x = " + "-" * 5_000,
        "x = a" + "[0]" * 3_000,
        "x = " + "1?" * 3_000,
        "x = " + "9" * 100_000,
        '{"a":' * 50_000,
        '{"a":[' + '"\\' * 100_000,
    ],
    ids=lambda text: text[:12],
)
def test_hostile_text_is_refused_quickly(text: str) -> None:
    begun = time.thread_time()
    for parse in (parse_text, hcl_json.parse_text):
        with pytest.raises(ConfigError):
            parse(text, START)
    assert time.thread_time() - begun < 5


BLOCKS = st.lists(
    st.sampled_from(
        [
            "a {}\n",
            "b { x = 1 }  \r\n",
            'c "l" {\n  d {\n  }\n}\n',
            "# } \n",
            "/* }\n} */\n",
            "e = { f = [1] }\n",
            "g = [{\n}\n]\n",
            'h = "}"\n',
            "i = <<E\n}\nE\n",
            "j {} # }\n",
            "k {} l {}\n",
            "m = (1)\n",
            "n {\n  =\n}\n",
        ]
    ),
    max_size=8,
).map("".join)


@patient
@given(BLOCKS)
def test_text_in_pieces_is_the_text_in_one(text: str) -> None:
    found = []
    for piece in (0, 10**6):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scan, "PIECE", piece)
            try:
                found.append(parse_text(text, START))
            except ConfigError as error:
                found.append(error.mistakes)
    assert found[0] == found[1]


def test_positions_are_those_of_the_text() -> None:
    body = parse_text(
        '\ufeff# first\r\na = [1,\r\n  { k = "v" }]\nserver {\n  b "x" y { é = 1 }\n}\n'.replace(
            "é", "e"
        ),
        START,
    )
    (a,), (server,) = body.attributes, body.blocks
    assert (a.place.line, a.place.column) == (2, 1)
    assert {path: (place.line, place.column) for path, place in a.parts.items()} == {
        (0,): (2, 6),
        (1,): (3, 3),
        (1, "k"): (3, 5),
    }
    (inner,) = server.body.blocks
    assert (inner.type, inner.labels) == ("b", ("x", "y"))
    assert (inner.place.line, inner.place.column) == (5, 3)
    assert (inner.body.attributes[0].place.line, inner.body.attributes[0].place.column) == (5, 13)


def test_json_positions() -> None:
    body = hcl_json.parse_text('{\n "a": {\n  "b": [1,\n  {"c": 2}]}}', START)
    (b,) = body.blocks[0].body.attributes
    assert (body.blocks[0].place.line, body.blocks[0].place.column) == (2, 2)
    assert (b.place.line, b.place.column) == (3, 3)
    assert {path: (place.line, place.column) for path, place in b.parts.items()} == {
        (0,): (3, 9),
        (1,): (4, 3),
        (1, "c"): (4, 4),
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\n\r\t\"\\ \u00e9 \U0001F600"', '\n\r\t"\\ é 😀'),
        ('"$${a} %%{b} $$ 100% $$$${"', None),
        ('"$${a} %%{b} $5 100%"', "${a} %{b} $5 100%"),
        ("<<E\n a\n\n b\\n $${x}\nE\n", " a\n\n b\\n ${x}\n"),
        ("<<-E\n    a\n\n      b\n    E\n", "a\n\n  b\n"),
        ("<<E\r\na\r\nE\r\n", "a\n"),
        ("<<E\nE\n", ""),
        ("- 5", -5),
        ("-12", -12),
        ("-0.5e1", -5.0),
        ("[1, # one\n 2,\n]", [1, 2]),
        ('{ a = 1, "b c": [true], if = null\n true = 2 }',
         {"a": 1, "b c": [True], "if": None, "true": 2}),
    ],
)  # fmt: skip
def test_values(text: str, value: Any) -> None:
    if value is None:
        assert mistakes(f"x = {text}")
    else:
        assert value_of(text) == value


NO_EXPRESSIONS = "expressions are not supported; write the value itself"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a = 1\nb =\n", (2, 4, "the line ends too early: a value or a block's { is missing")),
        ("a = 'x'", (1, 5, "text must be in double quotes, not in single ones")),
        ("a = debug", (1, 5, 'text must be in quotes: write "debug"')),
        ('a = env("X")', (1, 5, NO_EXPRESSIONS)),
        ('a = "x${y}"', (1, 7, NO_EXPRESSIONS)),
        ('a = "%{ if x }"', (1, 6, NO_EXPRESSIONS)),
        ("a = [1,\n 1 + 2]", (2, 2, NO_EXPRESSIONS)),
        ("a = x.y", (1, 5, NO_EXPRESSIONS)),
        ("a = (1)", (1, 5, NO_EXPRESSIONS)),
        ("a = !true", (1, 5, NO_EXPRESSIONS)),
        ("a = -x", (1, 6, NO_EXPRESSIONS)),
        ("a = true ? 1 : 2", (1, 5, NO_EXPRESSIONS)),
        ("a = [for x in y : x]", (1, 5, NO_EXPRESSIONS)),
        ("a = { (x) = 1 }", (1, 7, "a key must be a word, or text in quotes")),
        ("a = { b = 1\n b = 2 }", (2, 2, "'b' is repeated; it is in line 1 already")),
        ("a = [1 2]", (1, 8, "expected a comma between the items of a list, not '2]'")),
        ("a: 1", (1, 2, "write name = value")),
        ("server {\n  a = 1\n", (1, 8, "this { is never closed")),
        ("a = 1\n}", (2, 1, "this } closes nothing")),
        ("a = [1}", (1, 7, "this } cannot close a [")),
        ("a = 1\n/* x", (2, 1, "this comment is never closed: */ is missing")),
        ("a = 1e999", (1, 5, "this number is too large: it must fit in 64 bits")),
        ("a = 9223372036854775808", (1, 5, "this number is too large: it must fit in 64 bits")),
        ('a = "\\uD800"', (1, 5, "\\uD800 is not a character")),
        ("a = 1\n\0", (2, 1, "a NUL character; is this a text file?")),
        ("a = " + "[" * 33 + "]" * 33, (1, 37, "nested more than 32 deep")),
    ],
)
def test_refused(text: str, mistake: tuple[int, int, str]) -> None:
    assert mistakes(text) == [mistake]


def test_an_open_string_is_reported_where_it_begins() -> None:
    ((line, column, text),) = mistakes('a = "x\nb = "y"\n')
    assert (line, column) == (1, 5)
    assert "not closed on its line" in text


def test_all_expressions_are_reported_at_once() -> None:
    assert [line for line, _, _ in mistakes("a = x\nb = [y]\nc { d = f() }\n")] == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[]", (1, 1)),
        ("", (1, 1)),
        ('{"a": 1,\n "a": 2}', (2, 2)),
        ('{"a":\n NaN}', (2, 2)),
        ('{"a": "\\ud800"}', (1, 7)),
        ('{"a": 1e400}', (1, 7)),
        ('{"a" 1}', (1, 6)),
        ('{"a":' + "[" * 40 + "]" * 40 + "}", (1, 37)),
    ],
)
def test_refused_json(text: str, where: tuple[int, int]) -> None:
    with pytest.raises(ConfigError) as raised:
        hcl_json.parse_text(text, START)
    (mistake,) = raised.value.mistakes
    assert (mistake.line, mistake.column) == where


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a = 1\nb = \"\xff\"", ":2:6: not UTF-8 text; save the file as UTF-8"),
        (b"#" * (SIZE_MAXIMUM + 1), ": larger than 1024 KiB, which no configuration needs"),
        (None, ": cannot be read: No such file or directory"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read(tmp_path: Path, data: bytes | None, text: str) -> None:
    path = tmp_path / "a.hcl"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError) as raised:
        parse_file(path)
    assert str(raised.value) == f"{path}{text}"
