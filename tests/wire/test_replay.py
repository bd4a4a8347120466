"""plugind answers as a real Nomad 0.11.8 did, except for deliberate differences.

Each recorded request is sent to a plugind with the state that Nomad had. Each difference must be in
one of the two tables, with its reason, and each row must be a real difference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from tests.support import Answer
from tests.wire.comparing import differences
from tests.wire.recorded_server import replay
from tests.wire.recording import names, read


class Otherwise(NamedTuple):
    """An answer that is entirely different: its status and the compared parts."""

    status: int
    look: Callable[[Answer], Any]
    shown: Any
    why: str


def text(answer: Answer) -> str:
    return answer.text


def ids(answer: Answer) -> list[str]:
    return [row["ID"] for row in answer.json]


def healthy(answer: Answer) -> dict[str, tuple[int, int]]:
    return {row["ID"]: (row["ControllersHealthy"], row["NodesHealthy"]) for row in answer.json}


HOSTPATH, MOCK = "hostpath-plugin0", "mock-plugin0"
NODE = "84a05bf0-6541-6303-b1b0-3cb6334456fd"
NO_TYPE = "an empty body breaks clients that read JSON"
EXACT = "an exact path or nothing"
NO_PATH = "no such path; /v1/openapi.json lists those of the API"
MISTAKE = "it is the client's mistake"
NEWER = "newer Nomad does"

OTHERWISE = {
    "bearer": Otherwise(200, ids, [HOSTPATH, MOCK], NEWER),
    "double-slash": Otherwise(404, text, NO_PATH, EXACT),
    "head": Otherwise(200, text, "", "RFC 9110: as GET, without a body"),
    "list-after-job-stop": Otherwise(
        200, healthy, {HOSTPATH: (1, 1), MOCK: (0, 0)}, "who looks at night wants to see it"
    ),
    "list-prefix": Otherwise(200, ids, [HOSTPATH], NEWER),
    "list-unknown-type": Otherwise(400, text, "unknown plugin type 'foo'; there are: csi", NO_TYPE),
    "namespaces": Otherwise(
        200, lambda answer: [row["Name"] for row in answer.json], ["default"], "newer clients ask"
    ),
    "nodes-prefix-odd": Otherwise(200, ids, [NODE], "it is no fault of the server"),
    "other-region": Otherwise(400, text, "No path to region", MISTAKE),
    "per-page-x": Otherwise(400, text, "Invalid per_page: it is a whole number", NEWER),
    "plugin-a-b": Otherwise(404, text, NO_PATH, EXACT),
    "plugin-a-b-c": Otherwise(404, text, NO_PATH, EXACT),
    "plugin-csi-no-slash": Otherwise(404, text, NO_PATH, EXACT),
    "plugin-empty": Otherwise(404, text, NO_PATH, EXACT),
    "plugins-slash": Otherwise(404, text, NO_PATH, EXACT),
    "read-unknown-type": Otherwise(404, text, "plugin not found", NO_TYPE),
    "search-bad-json": Otherwise(
        400,
        text,
        "the body is not JSON: Expecting value at line 1 column 11",
        "the words of another reader of JSON",
    ),
    "stale-maybe": Otherwise(400, text, "Invalid stale: it is true or false", NEWER),
    "unknown-path": Otherwise(404, text, NO_PATH, "tools print more than the status"),
    "token-malformed": Otherwise(403, text, "ACL token not found", MISTAKE),
    "type-empty": Otherwise(200, text, "[]", NO_TYPE),
    "type-twice": Otherwise(400, text, "unknown plugin type 'nope'; there are: csi", NO_TYPE),
}


class Apart(NamedTuple):
    """Differences within answers that otherwise agree, as regular expressions."""

    recordings: str
    what: str
    why: str


_BODIES = "read-hostpath|driver-dead-read"
_FINGERPRINT = r"body\.(Nodes|Controllers|CSI\w+Plugins)\..*\.(Node|Controller)Info"

APART = [
    Apart(".*", r"header (etag|cache-control): added", "no client fetches the same twice"),
    Apart(".*-plugins|wrong-method", "header allow: added", "RFC 9110 asks for it"),
    Apart(
        "(lister-read|anonymous)-denied|nodes-anonymous|token-empty",
        "body: Permission denied: it needs .*",
        "who is refused learns what to ask for; clients look for the first two words",
    ),
    Apart("(list|anonymous)-no-type", r"header x-nomad-\w+: added", "one rule for every read"),
    Apart(_BODIES, r"body\.(Controllers|Nodes)Expected: added", NEWER),
    Apart(_BODIES, r"body\.(CreateTime|ModifyTime|Topologies): added", NEWER),
    Apart(_BODIES, r"body\.ControllersRequired: added", "the API's document spells it so"),
    Apart(f"{_BODIES}|node-read", rf"{_FINGERPRINT}\.Supports\w+: added", NEWER),
    Apart("driver-dead-read", rf"{_FINGERPRINT}\.\w+: true", "its needs are true still"),
    Apart("driver-dead-.*", r"body\.(1\.)?ControllerRequired: true", "its needs are true still"),
    Apart("node.*", r"body\.(0\.)?(NodePool|LastDrain): added", NEWER),
    Apart("node.*", r"body\.(0\.)?Drivers\.\w+: missing", "there are no task drivers"),
    Apart("node-read", r"body\.(Address|Version): added", "what a list has of it, a read has"),
    Apart("node-read", r"body\.Events: \[\]", "a scheduler's"),
    Apart("node-read", r"body\.(Node)?Resources\.Networks: null", "a scheduler's"),
    Apart("node-read", r"body\.SecretID: missing", "a secret"),
    Apart("search.*", r"body\.(Matches|Truncations)\.plugins: added", NEWER),
    Apart("search-all.*", r"body\.Matches\.allocs: \[\]", "a list, as for plugins and nodes"),
    Apart("acl-policy", r"body\.(Rules|RulesJSON\.Raw): .*", "a description is a comment in it"),
    Apart("acl-token-self.*", r"body\.(Roles|ExpirationTime): added", NEWER),
    Apart("agent-self", r"body\.config\..*: missing", "no such settings"),
    Apart("agent-self", r"body\.config\.Client\.Servers: .*", "by default there is one"),
    Apart("agent-self", r"body\.stats\.(raft\.\w+|serf|vault|client): missing", "no such parts"),
    Apart("agent-self", r"body\.stats\.runtime\.(goroutines|max_procs): missing", "no Go"),
    Apart("agent-self", r"body\.stats\.plugind: added", "numbers of its own"),
    Apart(_BODIES, r"body\.Allocations\.0\.TaskStates\.\w+: missing", "a scheduler's"),
    Apart(
        "node-allocations", r"node-allocations body\.0\.(Job|Task\w+)\..*: missing", "a scheduler's"
    ),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Answer]:
    return replay(tmp_path_factory.mktemp("replay"))


@pytest.fixture(scope="module")
def found(answers: Mapping[str, Answer]) -> Mapping[str, set[str]]:
    """Return the differences of each answer."""
    return {name: differences(read(name), answer) for name, answer in answers.items()}


def is_explained(name: str, difference: str) -> bool:
    return any(
        re.fullmatch(apart.recordings, name) and re.fullmatch(apart.what, difference)
        for apart in APART
    )


@pytest.mark.parametrize("name", [name for name in names() if name not in OTHERWISE])
def test_an_answer_is_the_recorded_one(found: Mapping[str, set[str]], name: str) -> None:
    assert sorted(one for one in found[name] if not is_explained(name, one)) == []


@pytest.mark.parametrize("name", OTHERWISE)
def test_an_answer_that_is_another_on_purpose(
    answers: Mapping[str, Answer], found: Mapping[str, set[str]], name: str
) -> None:
    expected, answer = OTHERWISE[name], answers[name]
    assert (answer.status, expected.look(answer)) == (expected.status, expected.shown)
    assert not all(is_explained(name, one) for one in found[name]), "it is the recorded one"


@pytest.mark.parametrize("apart", APART, ids=lambda apart: apart.what)
def test_each_difference_is_there(found: Mapping[str, set[str]], apart: Apart) -> None:
    assert any(
        re.fullmatch(apart.what, difference)
        for name in found.keys() - OTHERWISE.keys()
        if re.fullmatch(apart.recordings, name)
        for difference in found[name]
    )


def test_what_search_finds(answers: Mapping[str, Answer]) -> None:
    assert answers["search"].json["Matches"] == {"plugins": [HOSTPATH]}
    assert answers["search-all-put"].json["Matches"]["plugins"] == []


def test_the_hashes_are_nomads(answers: Mapping[str, Answer]) -> None:
    for name in ("acl-token-self", "acl-token-self-client"):
        assert answers[name].json["Hash"] == read(name).json["Hash"]


def test_every_recording_was_replayed(answers: Mapping[str, Answer]) -> None:
    assert sorted(answers) == names()
    assert len(names()) > 70
