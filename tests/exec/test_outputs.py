"""Reading the output of checks."""

# A row of a table reads best on one line.

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_types.exec import ExecType
from plugin_types.exec.outputs import failed, read_json, read_nagios
from plugind.errors import ProbeFailed
from plugind.toolbox.programs import Ended

SCHEMA = ExecType.fingerprint_schemas["check"]


def nagios(status: int, output: bytes, errors: bytes = b"") -> dict[str, Any]:
    (found,) = read_nagios("disk", Ended(status, output, errors)).values()
    return found


@pytest.mark.parametrize(
    ("status", "output", "healthy", "description"),
    [
        (0, b"DISK OK - free space: / 3326 MB\n", True, "DISK OK - free space: / 3326 MB"),
        (0, b"", True, "OK (it printed nothing)"),
        (1, b"PROCS WARNING: 114 processes", True, "PROCS WARNING: 114 processes"),
        (1, b"Warning: hot", True, "Warning: hot"),
        (1, b"3 updates are pending", True, "WARNING: 3 updates are pending"),
        (2, b"CRITICAL: on fire\nmore\n", False, "CRITICAL: on fire"),
        (3, b"\x1b[31mUNKNOWN\x1b[0m\t disk\x00", False, "[31mUNKNOWN [0m disk"),
        (2, b"", False, "the log says so"),
        (127, b"", False, "exit status 127: the log says so"),
        (-11, b"OK", False, "it was ended by SIGSEGV"),
    ],
)
def test_exit_statuses_of_nagios(
    status: int, output: bytes, healthy: bool, description: str
) -> None:
    errors = b"\nthe log says so\nand more" if not healthy else b""
    found = nagios(status, output, errors)
    assert (found["Healthy"], found["HealthDescription"]) == (healthy, description)


def test_statuses_have_names() -> None:
    names = ["OK", "WARNING", "CRITICAL", "UNKNOWN", "UNKNOWN"]
    assert [nagios(number, b"x")["Status"] for number in range(5)] == names
    assert nagios(-9, b"")["Status"] == "UNKNOWN"


@pytest.mark.parametrize(
    ("output", "description", "perf_data"),
    [
        ("LOAD OK | load1=0.5;1;2;0\n", "LOAD OK", "load1=0.5;1;2;0"),
        ("OK|a=1\nlong text\nmore of it|b=2\nc=3 | d=4", "OK", "a=1 b=2 c=3 d=4"),
        (
            "OK | a=1\n/ is fine | b=2\n/home is fine | 'c d'=3\n/tmp has = none",
            "OK",
            "a=1 b=2 'c d'=3",
        ),
        ("OK\n| a=1\n'it''s'=2;3\n", "OK", "a=1 'it''s'=2;3"),
        ("OK\nlong text | a=1", "OK", "a=1"),
        ("OK\nlong text", "OK", ""),
        ("OK | " + "a=1 " * 9_000, "OK", ("a=1 " * 9_000)[:8_191] + "…"),
    ],
)
def test_performance_data_is_kept_apart(output: str, description: str, perf_data: str) -> None:
    found = nagios(0, output.encode())
    assert (found["HealthDescription"], found["PerfData"]) == (description, perf_data)


@pytest.mark.parametrize(
    ("output", "description", "perf_data"),
    [
        (b"\nCRITICAL - db is down\n", "CRITICAL - db is down", ""),
        (b" \t\r\n\r\nCRITICAL - db is down | a=1\r\n", "CRITICAL - db is down", "a=1"),
        (b"| a=1\nCRITICAL - db is down\n", "CRITICAL - db is down", "a=1"),
        (b"CRITICAL - part one\014part two | a=1\n", "CRITICAL - part one part two", "a=1"),
    ],
)
def test_the_first_line_with_text_is_the_description(
    output: bytes, description: str, perf_data: str
) -> None:
    found = nagios(2, output)
    assert (found["HealthDescription"], found["PerfData"]) == (description, perf_data)


@pytest.mark.parametrize("letter", "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
def test_only_lf_and_crlf_end_a_line(letter: str) -> None:
    """Leave other separators of str.splitlines within their line, in every kind of output."""
    text = f"part one{letter}part two"
    assert nagios(2, f"{text} | a=1".encode())["HealthDescription"] == "part one part two"
    assert nagios(2, b"", text.encode())["HealthDescription"] == "part one part two"
    with pytest.raises(ProbeFailed, match="exit status 1: part one part two"):
        read_json(Ended(1, b"", text.encode()))
    line = json.dumps({"ID": "a", "Healthy": False, "HealthDescription": text}, ensure_ascii=False)
    if letter >= " ":  # others are not allowed within text of JSON
        (found,) = read_json(Ended(0, line.encode(), b"")).values()
        assert found["HealthDescription"] == "part one part two"


def lines(*values: Any) -> Ended:
    return Ended(0, "\n\n".join(json.dumps(value) for value in values).encode(), b"log")


def test_a_line_of_json_for_each() -> None:
    found = read_json(
        lines(
            {"ID": "a", "Healthy": True, "Free": 7, "Where": "north", "Tags": ["x", None]},
            {"ID": "b", "Healthy": False, "HealthDescription": "on\nfire", "PerfData": "t=900"},
            {"ID": "b", "Role": "other", "Healthy": True, "Status": "WARNING"},
        )
    )
    nothing = {"HealthDescription": "", "PerfData": "", "Details": {}}
    assert found == {
        ("a", "check"): {
            **nothing,
            "Healthy": True,
            "Status": "OK",
            "Details": {"Free": "7", "Where": "north", "Tags": '["x", null]'},
        },
        ("b", "check"): {
            **nothing,
            "Healthy": False,
            "HealthDescription": "on fire",
            "Status": "CRITICAL",
            "PerfData": "t=900",
        },
        ("b", "other"): {**nothing, "Healthy": True, "Status": "WARNING"},
    }
    assert read_json(Ended(0, b"", b"")) == {}


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (b"OK", "line 1 of its output is not JSON"),
        (b'{"ID": "a", "Healthy": true}\n[]', "line 2 of its output is not a JSON object"),
        (b'{"Healthy": true}', "ID: Missing data"),
        (b'{"ID": "a b", "Healthy": true}', "ID: must be 1 to 128 letters"),
        (b'{"ID": "a"}', "Healthy: Missing data"),
        (b'{"ID": "a", "Healthy": "yes"}', "Healthy: must be true or false"),
        (b'{"ID": "a", "Healthy": true, "Status": "FINE"}', "Status: must be one of OK, WARNING"),
        (b'{"ID": "a", "Healthy": NaN}', "NaN is not a JSON number"),
        (b'{"ID": "a", "Healthy": true, "x": ' + b"[" * 99_999, "is not JSON"),
        (b'{"ID": "a", "Healthy": true}\n' * 2, "line 2 of its output repeats a"),
        (
            b'{"ID": "a", "Healthy": false, "Healthy": true}',
            'line 1 of its output repeats the key "Healthy"',
        ),
        (
            b'{"ID": "a", "Healthy": true, "x": [{"\\u001by": 1, "\\u001by": 1}]}',
            'repeats the key "y"',
        ),
        (
            json.dumps({"ID": "a", "Healthy": True, **dict.fromkeys(map(str, range(65)))}).encode(),
            "more than 64 fields",
        ),
    ],
)
def test_mistakes_in_json_are_reported_by_line(output: bytes, reason: str) -> None:
    with pytest.raises(ProbeFailed) as caught:
        read_json(Ended(0, output, b""))
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        (Ended(1, b"", b"Traceback\n"), "exit status 1: Traceback"),
        (Ended(1, b'{"ID": "a", "Healthy": true}', b""), "exit status 1: {"),
        (Ended(-15, b"", b""), "it was ended by SIGTERM"),
    ],
)
def test_json_of_a_program_that_fails_does_not_count(ended: Ended, reason: str) -> None:
    with pytest.raises(ProbeFailed, match=reason):
        read_json(ended)


@given(st.integers(-70, 260), st.binary(), st.binary())
def test_any_output_fits_the_schema(status: int, output: bytes, errors: bytes) -> None:
    found = nagios(status, output, errors)
    assert_fits(found)
    assert found["Healthy"] == (status in (0, 1))


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["ID", "Healthy", "Status", "Role", "x"]) | st.text(max_size=5),
            st.booleans() | st.sampled_from(["a", "b", "OK", "check"]) | st.text() | st.floats(),
        )
    )
)
def test_any_json_fits_or_is_refused(values: list[Any]) -> None:
    try:
        found = read_json(lines(*values))
    except ProbeFailed:
        return
    assert len(found) == len(values)
    for fingerprint in found.values():
        assert_fits(fingerprint)


@given(st.binary(min_size=1).map(lambda data: b"x" + data))
def test_bytes_that_are_no_json_are_refused(output: bytes) -> None:
    with pytest.raises(ProbeFailed, match="line 1"):
        read_json(Ended(0, output, b""))


def assert_fits(fingerprint: dict[str, Any]) -> None:
    words = fingerprint["HealthDescription"]
    assert len(words) <= 4_096
    assert words == " ".join(words.split())
    details = {k: v for k, v in fingerprint.items() if not k.startswith("Health")}
    assert SCHEMA().load(details) == {"PerfData": "", "Details": {}, **details}


def test_a_failure_keeps_what_was_known() -> None:
    assert failed("disk", "it did not end") == {
        ("disk", "check"): {
            "Healthy": False,
            "HealthDescription": "it did not end",
            "Status": "UNKNOWN",
        }
    }
