"""Answers of executables to VERSION: from real executables, and from ones that misbehave."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_types.cni.asking import Answer, Asker, read_answer
from plugind.toolbox.programs import Ended
from tests.cni.conftest import Host, real

NO_ANSWER = "its answer to VERSION is not one that CNI allows"


@pytest.mark.parametrize("name", ["bridge", "host-local", "portmap", "vrf"])
def test_versions_that_real_ones_support(name: str) -> None:
    answer = Asker(str(real(name)), 20).last()
    assert answer.problem == ""
    assert {"0.4.0", "1.0.0"} <= set(answer.versions)


def test_a_real_one_that_answers_another_question() -> None:
    """Accept the error that real executables print in CNI's format if CNI_COMMAND is missing."""
    from_cni = Ended(1, b'{"code": 4, "msg": "required env variables [X] missing"}', b"")
    assert read_answer(from_cni).problem == (
        "VERSION failed: exit status 1: required env variables [X] missing"
    )


@pytest.mark.parametrize(
    ("ended", "answer"),
    [
        (
            Ended(0, b'{"supportedVersions": ["0.4.0", "1.0.0"]}', b"log"),
            Answer(("0.4.0", "1.0.0")),
        ),
        (Ended(0, b"", b""), Answer(problem=NO_ANSWER)),
        (Ended(0, b"[]", b""), Answer(problem=NO_ANSWER)),
        (Ended(0, b'{"supportedVersions": []}', b""), Answer(problem=NO_ANSWER)),
        (Ended(0, b'{"supportedVersions": "1.0.0"}', b""), Answer(problem=NO_ANSWER)),
        (Ended(0, b'{"supportedVersions": [1]}', b""), Answer(problem=NO_ANSWER)),
        (Ended(0, b'{"supportedVersions": ["\\ud800"]}', b""), Answer(problem=NO_ANSWER)),
        (
            Ended(1, b'{"msg": "no\\nroom", "details": "at all"}', b"log"),
            Answer(problem="VERSION failed: exit status 1: no room: at all"),
        ),
        (Ended(2, b"", b"panic\nat 7"), Answer(problem="VERSION failed: exit status 2: panic")),
        (Ended(2, b"", b""), Answer(problem="VERSION failed: exit status 2")),
        (Ended(1, b'{"msg": "unknown CNI_COMMAND: VERSION"}', b""), Answer(("0.1.0",))),
        (Ended(-11, b"", b""), Answer(problem="it was ended by SIGSEGV")),
    ],
)
def test_answers(ended: Ended, answer: Answer) -> None:
    assert read_answer(ended) == answer


@given(
    st.integers(-70, 260), st.binary() | st.text().map(lambda s: json.dumps({"msg": s}).encode())
)
def test_any_output(status: int, output: bytes) -> None:
    answer = read_answer(Ended(status, output, b""))
    assert bool(answer.versions) != bool(answer.problem)
    assert len(answer.problem) < 600
    answer.problem.encode()


def test_the_input_of_an_executable(host: Host) -> None:
    body = 'env | sort > $0.env; cat > $0.in; echo \'{"supportedVersions": ["1.0.0"]}\''
    path = host.script("plugin", body)
    assert Asker(str(path), 20).last() == Answer(("1.0.0",))
    names = [line.partition("=")[0] for line in (host.bin / "plugin.env").read_text().split()]
    assert set(names) - {"PWD", "OLDPWD", "SHLVL", "_"} == {
        "CNI_COMMAND",
        "CNI_CONTAINERID",
        "CNI_IFNAME",
        "CNI_NETNS",
        "CNI_PATH",
        "PATH",
    }
    assert json.loads((host.bin / "plugin.in").read_text()) == {"cniVersion": "1.0.0"}


def test_an_answer_is_remembered_until_the_next_one(host: Host) -> None:
    path = host.script("plugin", "echo >> $0.ran; exit $(cat $0.status)")
    (host.bin / "plugin.status").write_text("3")
    asker = Asker(str(path), 20)
    three = Answer(problem="VERSION failed: exit status 3")
    assert asker.last() == asker.last() == three
    assert asker.ask() == (three, False)
    (host.bin / "plugin.status").write_text("4")
    assert asker.ask() == (Answer(problem="VERSION failed: exit status 4"), True)
    assert (host.bin / "plugin.ran").read_text() == "\n" * 3


def test_one_that_hangs(host: Host) -> None:
    path = host.script("plugin", "sleep 600")
    problem = Asker(str(path), 0.2).last().problem
    assert problem == "it did not end within 200ms and was killed"
