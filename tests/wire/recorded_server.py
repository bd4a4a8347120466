"""A plugind with the recorded state of Nomad, and its answers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from plugind.health import Health
from tests.support import Answer, Api, FakeAgent, Live, serving
from tests.wire.recording import Recording, names, read

MANAGEMENT = "<management token>"
SECRETS = {
    MANAGEMENT: "4f8e0d2c-secret-of-the-management",
    "<client token of policy readers>": "4f8e0d2c-secret-of-the-readers",
    "<client token of policy listers>": "4f8e0d2c-secret-of-the-listers",
}
_POLICIES = {
    "readers": '# may list and read plugins\nplugin { policy = "read" }',
    "listers": 'namespace "default" { capabilities = ["csi-list-plugin"] }',
}
ACCESSORS = {
    "Bootstrap Token": "9de94af8-5609-a6ef-028e-93c5adea0e16",
    "readers": "1cccc294-135c-9f7f-4abd-2d528d221785",
    "listers": "2de2b822-f9ce-5cc1-19d2-7228c1af49d3",
}
_ROLES = {"controller": "CSIControllerPlugins", "node": "CSINodePlugins"}
_DEAD = {"driver-dead-list", "driver-dead-read"}
_STOPPED = {"list-after-job-stop"}

Fingerprints = Mapping[str, Mapping[str, Any]]


@contextmanager
def served(folder: Path) -> Iterator[Live]:
    """Serve with an agent, and with the recorded policies and tokens."""
    folder.mkdir()
    checks = {"client": Health}
    settings = {"name": "vm", "client_enabled": "true", "plugin_types_enabled": "csi"}
    with serving(folder, live=True, config=acl(folder), checks=checks, **settings) as api:
        assert isinstance(api, Live)
        yield api


def acl(folder: Path) -> str:
    """Write the policies and tokens, and return their configuration."""
    policies, tokens = folder / "policies", folder / "tokens.hcl"
    policies.mkdir()
    for name, text in _POLICIES.items():
        (policies / f"{name}.hcl").write_text(text)
    tokens.write_text("".join(map(_token, ACCESSORS, SECRETS.values())))
    return f'acl {{\n  enabled = true\n  policies = "{policies}"\n  tokens = "{tokens}"\n}}\n'


def _token(name: str, secret: str) -> str:
    hash = hashlib.sha256(secret.encode()).hexdigest()
    rights = f'policies = ["{name}"]' if name in _POLICIES else 'type = "management"'
    return (
        f'token "{name}" {{\n  accessor = "{ACCESSORS[name]}"\n'
        f'  hash = "sha256:{hash}"\n  {rights}\n}}\n'
    )


def replay(folder: Path) -> dict[str, Answer]:
    """Return the answer to each recorded request, by the recording's name."""
    recorded = [read(name) for name in names()]
    first = [each for each in recorded if each.is_first_sitting]
    later = [each for each in recorded if not each.is_first_sitting]
    with served(folder / "first") as api:
        agent = _agent(api, read("nodes").json[0])
        _report(agent, {**_drivers(), **_hostpath_of_the_first_sitting()})
        answers = dict(_answers(api, first))
    with served(folder / "second") as api:
        agent = _agent(api, read("nodes-prefix").json[0])
        _report(agent, _drivers())
        rare = _DEAD | _STOPPED
        answers |= _answers(api, (each for each in later if each.name not in rare))
        _report(agent, {**_drivers(), "mock-plugin0": _dead_driver()})
        answers |= _answers(api, (each for each in later if each.name in _DEAD))
        _report(agent, {id_: of for id_, of in _drivers().items() if id_ != "mock-plugin0"})
        answers |= _answers(api, (each for each in later if each.name in _STOPPED))
    return answers


def _answers(api: Api, recorded: Iterable[Recording]) -> Iterator[tuple[str, Answer]]:
    for each in recorded:
        headers = {name: _secret(value) for name, value in each.given.items()}
        path = each.path.replace("index=21&", f"index={_index(api)}&")
        yield each.name, api.call(each.method, path, each.data.encode() or None, headers)


def _secret(text: str) -> str:
    return re.sub("<.*>", lambda match: SECRETS[match[0]], text)


def _index(api: Api) -> int:
    """Return the index of the list: Nomad's was 21."""
    return api.call("GET", "/v1/plugins?type=csi", headers=_management()).index


def _management() -> dict[str, str]:
    return {"X-Nomad-Token": SECRETS[MANAGEMENT]}


def _agent(api: Api, stub: Mapping[str, Any]) -> FakeAgent:
    return FakeAgent(api, stub["ID"], stub["Name"], token=SECRETS[MANAGEMENT])


def _report(agent: FakeAgent, drivers: Fingerprints) -> None:
    node = read("node-read").json
    about = {key: node[key] for key in ("Attributes", "Meta")}
    about |= {"Address": "127.0.0.1", "Version": "0.11.8", "Allocations": _allocations()}
    assert agent.report(drivers, **about).status == 200


def _allocations() -> Mapping[str, Any]:
    """Return the recorded allocations, as an agent reports them."""
    known = ("Name", "JobID", "TaskGroup", "CreateTime")
    plugins = [read(name).json["Allocations"] for name in ("read-hostpath", "driver-dead-read")]
    recorded = chain(read("node-allocations").json, *plugins)
    return {each["ID"]: {key: each[key] for key in known} for each in recorded}


def _drivers() -> dict[str, Mapping[str, Any]]:
    """Return the recorded fingerprints by plugin and role."""
    node = read("node-read").json
    plugins = node["CSINodePlugins"]
    return {id_: {role: node[key][id_] for role, key in _ROLES.items()} for id_ in plugins}


def _hostpath_of_the_first_sitting() -> Fingerprints:
    plugin = read("read-hostpath").json
    node_id = read("nodes").json[0]["ID"]
    roles = {"controller": "Controllers", "node": "Nodes"}
    return {plugin["ID"]: {role: plugin[key][node_id] for role, key in roles.items()}}


def _dead_driver() -> Mapping[str, Any]:
    """Return an agent's report of a driver that does not answer, with what it can know."""
    plugin = read("driver-dead-read").json
    known = ("AllocID", "Healthy", "HealthDescription", "UpdateTime")
    return {
        role: {key: fingerprint[key] for key in known}
        for role, plural in {"controller": "Controllers", "node": "Nodes"}.items()
        for fingerprint in plugin[plural].values()
    }
