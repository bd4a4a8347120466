"""Commands of Nomad's command line, as far as they read answers: each follows the same fields
through the same pointers, and fails where Nomad's program would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from tests.support import Api

TEXTS = ("ID", "Name", "NodeID", "NodeName", "JobID", "TaskGroup", "ClientStatus", "DesiredStatus")
TIMES = ("CreateTime", "ModifyTime")
RESOURCES = ("CPU", "MemoryMB", "DiskMB")
METRICS = ("NodesEvaluated", "NodesFiltered", "NodesExhausted", "AllocationTime")


class Failed(Exception):
    """The error that a command ends with."""


def get(api: Api, path: str, **headers: str) -> Any:
    answer = api.call("GET", path, headers=headers)
    if answer.status != 200:
        raise Failed(f"Unexpected response code: {answer.status} ({answer.text})")
    return answer.json


def alloc_status(api: Api, id_: str, **headers: str) -> list[str]:
    """Print the lines that ``nomad alloc status -verbose ID`` prints; several matches as IDs."""
    stubs = get(api, f"/v1/allocations?prefix={quote(id_)}", **headers)
    if not stubs:
        raise Failed(f'No allocation(s) with prefix or id "{id_}" found')
    if len(stubs) > 1:
        return [_stub(stub) for stub in stubs]
    alloc = get(api, f"/v1/allocation/{_stub(stubs[0])}", **headers)
    group = next(each for each in alloc["Job"]["TaskGroups"] if each["Name"] == alloc["TaskGroup"])
    lines = [f"{key} = {_text(alloc, key)}" for key in (*TEXTS, "EvalID", "ClientDescription")]
    lines.append(f"Job Version = {_number(alloc['Job'], 'Version')}")
    lines += [f"{key} = {_number(alloc, key)}" for key in TIMES]
    for key in RESOURCES:
        _number(alloc["Resources"], key)
    for key in METRICS:
        _number(alloc["Metrics"], key)
    tasks = {task["Name"]: task for task in group["Tasks"]}
    for name, state in alloc["TaskStates"].items():
        assert tasks[name]["Lifecycle"] is None
        assert not tasks[name]["VolumeMounts"]
        assert alloc["TaskResources"].get(name) is None  # nothing to compare statistics with
        lines += [f'Task "{name}" is "{_text(state, "State")}"', *_state(state)]
    return lines


def status(api: Api, id_: str, **headers: str) -> tuple[str, list[str]]:
    """Return the context that ``nomad status ID`` finds the ID in, and the matches."""
    body = {"Prefix": id_, "Context": "all"}
    answer = api.call("POST", "/v1/search", body, headers)
    assert answer.status == 200, answer.text
    found = {name: ids for name, ids in answer.json["Matches"].items() if ids}
    if len(found) != 1:
        raise Failed(f"{len(found)} contexts match {id_!r}")
    return next(iter(found.items()))


def check(api: Api, peers: int = 0, **headers: str) -> None:
    """Fail as ``nomad check -min-peers`` does."""
    stats = get(api, "/v1/agent/self", **headers)["stats"]
    if "nomad" not in stats or int(stats["raft"]["num_peers"]) < peers:
        raise Failed("not enough peers")


def _stub(stub: Mapping[str, Any]) -> str:
    for key in TEXTS:
        _text(stub, key)
    for key in (*TIMES, "JobVersion"):
        _number(stub, key)
    return _text(stub, "ID")


def _state(state: Mapping[str, Any]) -> Iterator[str]:
    assert isinstance(state["Failed"], bool)
    _number(state, "Restarts")
    for key in ("StartedAt", "FinishedAt", "LastRestart"):
        if state[key] is not None:
            assert datetime.fromisoformat(state[key]).tzinfo == UTC
            yield f"{key} = {state[key]}"
    for event in state["Events"]:
        yield f"{_number(event, 'Time')} {_text(event, 'Type')}: {_text(event, 'DisplayMessage')}"


def _text(of: Mapping[str, Any], key: str) -> str:
    assert isinstance(of[key], str), (key, of[key])
    return str(of[key])


def _number(of: Mapping[str, Any], key: str) -> int:
    """Return an int64; Go's decoder accepts no other number."""
    assert isinstance(of[key], int), (key, of[key])
    assert not isinstance(of[key], bool)
    return int(of[key])
