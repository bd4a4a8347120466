"""``/v1/agent/...``: what this process is, and whether it does its work."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Mapping
from typing import Any

import orjson
from flask import request

from plugind import __version__
from plugind.api.endpoints import Call, Endpoints, Given, Parts, agent_read, no_token, node_read
from plugind.api.nomad_shapes import MembersSchema, SelfSchema
from plugind.api.reply import Reply, json_reply
from plugind.api.shapes import HEALTH, TEXT, TEXTS
from plugind.errors import BadRequest
from plugind.fields import SECOND, format_duration

_MEMBERS = MembersSchema()
_SELF = SelfSchema()
_ROLES = ("server", "client")

endpoints = Endpoints()


@endpoints(
    "GET",
    "/v1/agent/health",
    need=no_token,
    answer=HEALTH,
    parameters={"type": Given("only this role of the process", {**TEXT, "enum": _ROLES})},
    errors=(400,),
    troubles=(500,),
)
def health(call: Call) -> Reply:
    """Say whether the server, and the agent in the same process, do their work."""
    only = request.args.get("type", "")
    if only not in ("", *_ROLES):
        raise BadRequest(f"Invalid type: it is {' or '.join(_ROLES)}")
    found = {role: check() for role, check in call.parts.checks.items() if only in ("", role)}
    answer = {role: {"ok": ok, "message": message} for role, (ok, message) in found.items()}
    ok = bool(found) and all(ok for ok, _ in found.values())
    return Reply(orjson.dumps(answer, option=orjson.OPT_SORT_KEYS), status=200 if ok else 500)


@endpoints("GET", "/v1/agent/members", need=node_read, answer=_MEMBERS)
def members(call: Call) -> Reply:
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
def servers(call: Call) -> Reply:
    """Name the servers that an agent in this process would report to."""
    return json_reply([call.parts.address])


@endpoints("GET", "/v1/agent/self", need=agent_read, answer=_SELF)
def read_self(call: Call) -> Reply:
    """Show this process: its settings, without secrets, and what it counts."""
    parts = call.parts
    answer = {"config": _config(parts), "member": _member(parts), "stats": _stats(parts)}
    return json_reply(_SELF.dump(answer))


def _member(parts: Parts) -> dict[str, Any]:
    """The server as Nomad's gossip would tell of it; its one address is that of the HTTP API."""
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


def _config(parts: Parts) -> dict[str, Any]:
    """The settings that Nomad has, too, by its names."""
    settings, (_, port) = parts.settings, _host_and_port(parts.address)
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


def _stats(parts: Parts) -> Mapping[str, Mapping[str, str]]:
    """By Nomad's names as far as it has them."""
    uname = platform.uname()
    return {
        **{role: tell() for role, tell in parts.stats.items()},
        "nomad": {
            "server": "true",
            "leader": "true",
            "leader_addr": parts.address,
            "bootstrap": "true",
            "known_regions": "1",
        },
        "plugind": {
            "index": str(parts.catalogue.index),
            "parked": str(parts.catalogue.parked),
            "nodes": str(len(parts.catalogue.nodes().rows)),
        },
        "runtime": {
            "arch": uname.machine,
            "cpu_count": str(os.cpu_count()),
            "kernel.name": uname.system.lower(),
            "version": f"python{platform.python_version()}",
        },
    }
