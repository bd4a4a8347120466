"""The syntax of HCL 1, as in Nomad's own files: it is accepted, and positions stay correct."""

# A row of a table reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugind.config import hcl1, hcl_json
from plugind.config.hcl import parse_text
from plugind.config.reading import parse_file
from plugind.config.tree import Body, Place
from plugind.errors import ConfigError
from tests.config import support
from tests.config.conftest import Write
from tests.config.test_hcl import BLOCKS

START = Place("f")


def plain(body: Body) -> dict[str, Any]:
    blocks = {" ".join((block.type, *block.labels)): plain(block.body) for block in body.blocks}
    return blocks | {attribute.name: attribute.value for attribute in body.attributes}


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ('"a" = 1', "a = 1"),
        ('"a" "b" "c" {\n "d-e" = 1\n}', 'a "b" "c" {\n d-e = 1\n}'),
        ("a = 1, b = 2,", "a = 1\nb = 2"),
        ("a = -1, b = - 2, c = 1.5e3", "a = -1\nb = -2\nc = 1500.0"),
        ("a {},\nb {}, c = [1, 2],\n", "a {}\nb {}\nc = [1, 2]"),
        ('a { b = { "c" = 1, d = [{ "e" = 2 }] }, f = 3 }', 'a {\nb = { c = 1, d = [{ e = 2 }] }\nf = 3\n}'),
        ('a = <<E\n, "b" = 1\nE\n"c" = true, # , "d"\n/* , */ "e" = null', "a = <<E\n, \"b\" = 1\nE\nc = true\ne = null"),
        ('a = "\\", \\"b\\" = 1,", "c" = ","', 'a = "\\", \\"b\\" = 1,"\nc = ","'),
        ("a = 1,\r\nb = 2,\r\n", "a = 1\nb = 2"),
    ],
)  # fmt: skip
def test_names_in_quotes_and_commas(text: str, same: str) -> None:
    assert plain(parse_text(text, START)) == plain(parse_text(same, START))


@pytest.mark.parametrize(
    "text",
    [
        *("a = 1,, b = 2", ", a = 1", "a {,}", "a, = 1", "a = , 1", "a {\n},,", "a = {,}"),
        *('"a b" = 1', '"1" = 1', '"a\\n" = 1', '"" = 1', '"a"', "'a' = 1", '"a" = "b" "c"'),
    ],
)
def test_syntax_that_hcl_1_does_not_have_either(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_text(text, START)


@settings(deadline=None)
@given(BLOCKS)
def test_hcl_2_stays_as_it_is(text: str) -> None:
    assert hcl1.as_hcl2(text) == text


PIECES = ['"a"', "b", " ", "\n", ",", "=", "{", "}", "[", "]", "1", "-", '"x,y"', "# ,\n", '"${c}"']


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_nothing_moves(text: str) -> None:
    def outline(of: str) -> list[tuple[int, str]]:
        return [(found.start(), found[0]) for found in re.finditer(r'[^\s,"]', of)]

    for after in (hcl1.as_hcl2(text), hcl1.without_templates(text)[0]):
        assert len(after) == len(text)
        assert [at for at, each in enumerate(after) if each == "\n"] == [
            at for at, each in enumerate(text) if each == "\n"
        ]
    moved = [letter for _, letter in outline(hcl1.as_hcl2(text))]
    assert moved == [letter for _, letter in outline(text)]


def test_templates_are_text_only_where_they_are_asked_to_be() -> None:
    text = 'a = "${b} $${c} %{d} $"\ne = <<E\n${f}\nE\n# ${g}\n'
    assert plain(parse_text(text, START, literal=True)) == {"a": "${b} $${c} %{d} $", "e": "${f}\n"}
    for expression in ('"${b}"', '"%{b}"', "<<E\n${b}\nE\n"):
        with pytest.raises(ConfigError):
            parse_text(f"a = {expression}", START)
    with pytest.raises(ConfigError, match="expressions are not supported"):
        parse_text("a = b.c", START, literal=True)


def test_a_stand_in_for_a_brace_is_no_character_of_the_text() -> None:
    taken = "".join(hcl1._NONCHARACTERS)
    for free in (taken[0], taken[-1]):
        rest = taken.replace(free, "")
        found = parse_text(f'a = "${{b}}{rest}"', START, literal=True)
        assert plain(found) == {"a": f"${{b}}{rest}"}
    with pytest.raises(ConfigError, match="expressions are not supported"):
        parse_text(f'a = "${{b}}{taken}"', START, literal=True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2, ], }', {"a": [1, 2]}),
        ('{"a": {"b": ",}" , } ,\n}', {"a": {"b": ",}"}}),
        ('{"a": "\\",]", "b": -1.5, }', {"a": '",]', "b": -1.5}),
        ('{"a": [[],], }', {"a": [[]]}),
    ],
)
def test_a_comma_behind_the_last_item_of_json(text: str, value: Any) -> None:
    assert plain(hcl_json.parse_text(text, START)) == value


@pytest.mark.parametrize(
    "text", ['{"a": [,]}', "{,}", '{"a": 1,,}', '{"a":,}', '{"a": [1,,]}', ","]
)
def test_other_commas_are_no_json(text: str) -> None:
    with pytest.raises(ConfigError, match="not JSON"):
        hcl_json.parse_text(text, START)


def test_json_is_read_from_a_file_of_any_name(tmp_path: Path) -> None:
    for name in ("a.hcl", "a.json", "a"):
        (tmp_path / name).write_text('\ufeff \n{"a": {"b": 1}}')
        assert plain(parse_file(tmp_path / name)) == {"a": {"b": 1}}


def test_a_configuration_in_the_manner_of_nomad_s(write: Write) -> None:
    hcl = write("a.hcl", '"log_level" = "WARN",\n"ports" {\n  "http" = 0,\n},\n')
    json = write("b.hcl", '{"client": {"enabled": true, "datacenter": "dc7",},}')
    found = support.settings(hcl, json)
    assert (found.log_level, found.ports.http) == ("WARN", 0)
    assert found.client.datacenter == "dc7"
    wrong = write("c.hcl", '"ports" { "htp" = 0, }\nregion = "${x}"')
    assert [mistake.split("; ")[0] for mistake in support.mistakes(wrong)] == [
        "c.hcl:2:11: expressions are not supported"
    ]
    wrong = write("d.hcl", '"ports" { "htp" = 0, }')
    assert support.mistakes(wrong) == [
        'd.hcl:1:11: unknown setting "htp" in ports; did you mean "http"?'
    ]
