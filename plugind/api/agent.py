"""``/v1/agent/health`` and ``/v1/status/leader``: whether this process does its work."""

from __future__ import annotations

import orjson
from flask import request

from plugind.api.endpoints import Call, Endpoints, no_token
from plugind.api.reply import Reply, json_reply
from plugind.api.shapes import HEALTH, TEXT

endpoints = Endpoints()


@endpoints("GET", "/v1/agent/health", need=no_token, answer=HEALTH, errors=(500,))
def health(call: Call) -> Reply:
    """Say whether the server, and the agent in the same process, do their work."""
    only = request.args.get("type", "")
    found = {role: check() for role, check in call.parts.checks.items() if only in ("", role)}
    answer = {role: {"ok": ok, "message": message} for role, (ok, message) in found.items()}
    ok = bool(found) and all(ok for ok, _ in found.values())
    return Reply(orjson.dumps(answer, option=orjson.OPT_SORT_KEYS), status=200 if ok else 500)


@endpoints("GET", "/v1/status/leader", need=no_token, answer=TEXT)
def leader(call: Call) -> Reply:
    """Name the server that answers."""
    return json_reply(call.parts.address)
