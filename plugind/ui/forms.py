"""Pages that write: they sign in and out, and forget plugins and nodes that are gone for good.

Each form is bound to the browser that it was made for, and may be sent only from this site.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from urllib.parse import parse_qsl

from plugind.api.endpoints import Call, anyone, management
from plugind.api.origin import check_origin
from plugind.api.reply import Reply
from plugind.errors import BadRequest, NotFound, TokenNotFound
from plugind.model import PluginKey
from plugind.ui import session
from plugind.ui.pages import Pages, link, reply, see_other
from plugind.ui.parts import Look, UiParts

FORM_MAXIMUM = 8 * 2**10
"""Maximum bytes of a form."""

_NEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~/-]{0,300}")
_NAMED = ("type", "id", "node")
_FORM_SECONDS = 12 * 3600

endpoints = Pages()


def _form(call: Call[UiParts]) -> Mapping[str, str]:
    """Return the fields of the form that the browser sent.

    Raise BadRequest if the form is too large or malformed. Raise Forbidden if another site sent it,
    or another browser than the one it was made for.
    """
    request, parts = call.request, call.parts
    check_origin(request, parts.trusted)
    body = request.read(FORM_MAXIMUM + 1)
    if len(body) > FORM_MAXIMUM:
        raise BadRequest(f"the form is larger than {FORM_MAXIMUM} bytes")
    try:
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=16))
    except ValueError as error:
        raise BadRequest("the form cannot be read") from error
    session.check_form(parts, call.acl, request, fields.get("form", ""))
    return fields


def _with_form(
    call: Call[UiParts], template: str, values: Mapping[str, object], status: int = 200
) -> Reply:
    """Return a page with a form that is bound to the browser's session or, without a session, to
    a secret that the browser has in a cookie or gets with the page."""
    request, parts = call.request, call.parts
    secret = session.form_secret(parts, call.acl, request)
    headers = {"Cache-Control": "no-store"}
    if not secret:
        secret = session.draw()
        given = session.set_cookie(parts, request, session.FORM_COOKIE, secret, _FORM_SECONDS)
        headers["Set-Cookie"] = given
    form = {**values, "form": session.form_token(secret)}
    return reply(
        Look.of(call), template, form, status=status, headers=headers, is_kept=False, is_live=False
    )


@endpoints.page("/ui/signin", need=anyone)
def sign_in_page(call: Call[UiParts]) -> Reply:
    """Ask for a token."""
    return _sign_in_page(call, call.asked.query.get("next", ""))


def _sign_in_page(call: Call[UiParts], next_: str, mistake: str = "", status: int = 200) -> Reply:
    values = {"mistake": mistake, "next": _next(next_)}
    return _with_form(call, "signin.html", values, status)


def _next(text: str) -> str:
    """Return a text if it is a page below ``/ui/`` to redirect to, else "" for the overview."""
    return text if _NEXT.fullmatch(text) and "//" not in text and ".." not in text else ""


@endpoints.form("/ui/signin", need=anyone)
def sign_in(call: Call[UiParts]) -> Reply:
    """Begin a session for a token."""
    fields, now = _form(call), time.time_ns()
    call.parts.throttle.attempt(call.request.client)
    if not call.acl.enabled:
        raise BadRequest("without ACLs there is nothing to sign in for")
    try:
        caller = call.acl.caller(fields.get("token", "").strip() or "none", now)
    except TokenNotFound:
        mistake = "No such token, or it is expired."
        return _sign_in_page(call, fields.get("next", ""), mistake, 403)
    token = call.acl.held_by(caller.accessor, now)
    given = session.begin(call.parts, token, call.request, now)
    location = _next(fields.get("next", "")) or "./"
    return see_other(location, {"Set-Cookie": given}, caller.accessor)


@endpoints.form("/ui/signout", need=anyone)
def sign_out(call: Call[UiParts]) -> Reply:
    """End the session."""
    _form(call)
    return see_other("./", {"Set-Cookie": session.end(call.parts, call.request)})


def _plugin_or_node(call: Call[UiParts]) -> tuple[PluginKey | None, str]:
    """Return the plugin, or else the ID of the node, that a request names. Raise NotFound."""
    query, state = call.asked.query, call.parts.catalogue.state
    key = PluginKey(query.get("type", ""), query.get("id", ""))
    if key.type:
        if not state.has_plugin(key):
            raise NotFound("plugin not found")
        return key, ""
    if query.get("node", "") not in state.nodes:
        raise NotFound("node not found")
    return None, query["node"]


@endpoints.page("/ui/forget", need=management)
def forget_page(call: Call[UiParts]) -> Reply:
    """Ask for confirmation before a plugin's unhealthy instances, or a node, are forgotten."""
    key, node_id = _plugin_or_node(call)
    facts = Look.of(call).facts
    values = {
        "key": key,
        "node": facts.state.nodes.get(node_id),
        "count": len(facts.unhealthy.get(key, ()) if key else facts.state.on_node(node_id)),
        "action": link("", "forget", **{n: call.asked.query.get(n, "") for n in _NAMED}),
    }
    return _with_form(call, "forget.html", values)


@endpoints.form("/ui/forget", need=management)
def forget(call: Call[UiParts]) -> Reply:
    """Forget a plugin's unhealthy instances, or a node."""
    _form(call)
    key, node_id = _plugin_or_node(call)
    if key is not None:
        call.parts.intake.forget_plugin(key)
        is_left = call.parts.catalogue.state.has_plugin(key)
        return see_other(link("", *(("plugin", *key) if is_left else ("plugins", key.type))))
    call.parts.intake.forget_node(node_id)
    return see_other("nodes")
