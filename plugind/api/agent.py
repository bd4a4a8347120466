"""``/v1/agent/health`` and ``/v1/status/leader``: whether this process does its work."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson
from flask import Blueprint, request

from plugind.api.reply import Reply, json_reply, replies

Health = tuple[bool, str]
"""Whether all is well, and a message: "ok", or what is not."""


def agent_blueprint(checks: Mapping[str, Callable[[], Health]], address: str) -> Blueprint:
    """``checks`` are by role of the process ("server", "client"); ``address`` is HOST:PORT."""
    blueprint = Blueprint("agent", __name__)

    @blueprint.get("/v1/agent/health")
    @replies
    def health() -> Reply:
        only = request.args.get("type", "")
        found = {role: check() for role, check in checks.items() if only in ("", role)}
        answer = {role: {"ok": ok, "message": message} for role, (ok, message) in found.items()}
        ok = bool(found) and all(ok for ok, _ in found.values())
        return Reply(orjson.dumps(answer, option=orjson.OPT_SORT_KEYS), status=200 if ok else 500)

    @blueprint.get("/v1/status/leader")
    @replies
    def leader() -> Reply:
        return json_reply(address)

    return blueprint
