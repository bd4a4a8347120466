"""``/v1/agent/...``: this process, its settings and its health."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from plugind import __version__
from plugind.api.endpoints import Call, Endpoints, Given, agent_read, no_token, node_read
from plugind.api.nomad_shapes import MembersSchema, SelfSchema
from plugind.api.reply import Reply, json_reply
from plugind.api.shapes import HEALTH, TEXT, TEXTS
from plugind.catalogue import Catalogue
from plugind.config.settings import Settings
from plugind.errors import BadRequest
from plugind.health import Health
from plugind.model.times import SECOND, format_duration

_MEMBERS = MembersSchema()
_SELF = SelfSchema()
_ROLES = ("server", "client")


@dataclass(frozen=True, slots=True)
class AgentParts:
    """The parts that the agent endpoints need.

    ``checks`` and ``stats`` are keyed by role ("server", "client"); ``parked`` returns the number
    of blocking queries that wait; ``address`` is HOST:PORT.
    """

    settings: Settings
    catalogue: Catalogue
    checks: Mapping[str, Callable[[], Health]]
    stats: Mapping[str, Callable[[], Mapping[str, str]]]
    parked: Callable[[], int]
    address: str


endpoints = Endpoints(AgentParts)


@endpoints(
    "GET",
    "/v1/agent/health",
    need=no_token,
    answer=HEALTH,
    parameters={
        "type": Given("only this role of the process", {**TEXT, "enum": _ROLES}),
        "verbose": "asks for details; callers that may read the agent always get them",
    },
    errors=(400,),
    troubles=(500,),
)
def health(call: Call[AgentParts]) -> Reply:
    """Report whether the server, and the agent in the same process, are healthy.

    With the `agent` policy `read` the messages name each problem, its location and its cause;
    without it they only have counts.
    """
    only = call.request.query.get("type", "")
    if only not in ("", *_ROLES):
        raise BadRequest(f"Invalid type: it is {' or '.join(_ROLES)}")
    found = {role: check() for role, check in call.parts.checks.items() if only in ("", role)}
    shows_details = call.authorizer.may_read_agent().allowed
    answer = {
        role: {"ok": each.ok, "message": each.message if shows_details else each.summary}
        for role, each in found.items()
    }
    ok = bool(found) and all(each.ok for each in found.values())
    return Reply(orjson.dumps(answer, option=orjson.OPT_SORT_KEYS), status=200 if ok else 500)


@endpoints("GET", "/v1/agent/members", need=node_read, answer=_MEMBERS)
def members(call: Call[AgentParts]) -> Reply:
    """List the servers: there is one."""
    settings = call.parts.settings
    answer = {
        "Members": [_member(call.parts)],
        "ServerName": settings.name,
        "ServerRegion": settings.region,
        "ServerDC": settings.client.datacenter,
    }
    return json_reply(_MEMBERS.dump(answer))


@endpoints("GET", "/v1/agent/servers", need=agent_read, answer=TEXTS)
def servers(call: Call[AgentParts]) -> Reply:
    """Name the servers that an agent in this process would report to."""
    return json_reply([call.parts.address])


@endpoints("GET", "/v1/agent/self", need=agent_read, answer=_SELF)
def read_self(call: Call[AgentParts]) -> Reply:
    """Show this process: its settings, without secrets, and its statistics."""
    parts = call.parts
    answer = {"config": _config(parts), "member": _member(parts), "stats": _stats(parts)}
    return json_reply(_SELF.dump(answer))


def _member(parts: AgentParts) -> dict[str, Any]:
    """Return the server as a member in Nomad's gossip; its address is that of the HTTP API."""
    settings, (host, port) = parts.settings, _host_and_port(parts.address)
    name = f"{settings.name}.{settings.region}"
    tags = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
        "role": "nomad",
        "region": settings.region,
        "dc": settings.client.datacenter,
        "build": __version__,
        "rpc_addr": host,
        "port": str(port),
        "bootstrap": "1",
        "expect": "1",
        "vsn": "1",
        "mvn": "1",
        "raft_vsn": "2",
    }
    return {"Name": name, "Addr": host, "Port": port, "Tags": tags}


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _config(parts: AgentParts) -> dict[str, Any]:
    """Return the settings that Nomad also has, under Nomad's names."""
    settings, (_, port) = parts.settings, _host_and_port(parts.address)
    port = settings.ports.http or port  # the advertised port may be another
    server, client = settings.server, settings.client
    return {
        "ACL": {"Enabled": settings.acl.enabled},
        "AdvertiseAddrs": {"HTTP": parts.address},
        "BindAddr": settings.bind_addr,
        "Client": {"Enabled": client.enabled, "Servers": list(client.servers)},
        "DataDir": str(settings.data_dir or ""),
        "Datacenter": client.datacenter,
        "LogJson": settings.log_json,
        "LogLevel": settings.log_level,
        "NodeName": settings.name,
        "Ports": {"HTTP": port},
        "Region": settings.region,
        "Server": {
            "Enabled": server.enabled,
            "MinHeartbeatTTL": round(server.heartbeat_ttl * SECOND),
            "NodeGCThreshold": format_duration(round(server.gc_threshold * SECOND)),
        },
        "Version": {
            "Revision": "",
            "Version": __version__,
            "VersionMetadata": "",
            "VersionPrerelease": "",
        },
    }


def _stats(parts: AgentParts) -> Mapping[str, Mapping[str, str]]:
    """Return counts and facts about the process, under Nomad's names where Nomad has them."""
    uname = platform.uname()
    return {
        **{role: stats() for role, stats in parts.stats.items()},
        "nomad": {
            "server": "true",
            "leader": "true",
            "leader_addr": parts.address,
            "bootstrap": "true",
            "known_regions": "1",
        },
        "raft": {"num_peers": "0"},  # other servers; `nomad check` reads it
        "plugind": {
            "index": str(parts.catalogue.index),
            "parked": str(parts.parked()),
            "nodes": str(len(parts.catalogue.nodes().rows)),
        },
        "runtime": {
            "arch": uname.machine,
            "cpu_count": str(os.cpu_count()),
            "kernel.name": uname.system.lower(),
            "version": f"python{platform.python_version()}",
        },
    }
