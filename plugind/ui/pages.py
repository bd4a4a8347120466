"""Renders pages from templates: text escaped, links relative, headers strict."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pkgutil import resolve_name
from typing import Any
from urllib.parse import quote, urlencode

from plugind import __version__
from plugind.api.endpoints import Call, Endpoints, Need, View
from plugind.api.reply import PHRASES, Reply
from plugind.api.request import Request
from plugind.ui.assets import ASSETS_VERSION, asset_url
from plugind.ui.availability import MINUTE
from plugind.ui.facts import HEALTHY, STATES
from plugind.ui.icon import icon_url
from plugind.ui.parts import Look, UiParts
from plugind.ui.session import COOKIE, caller_of, cookie, form_token, session_of
from plugind.ui.tables import VARY

PARAMETERS = frozenset(
    (
        *("before", "class", "csv", "datacenter", "filter", "id", "node", "nodes", "page", "q"),
        *("sort", "state", "type", "version"),
    )
)
"""The query parameters that any page takes."""

HTML = {"type": "string"}
"""The shape of a page, for the table of endpoints."""

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind} 'self'" for kind in ("script-src", "style-src", "img-src", "connect-src")),
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Vary": VARY,
}
_CONTENT_TYPE = "text/html; charset=utf-8"


class Pages(Endpoints[UiParts]):
    """A table of pages. Their callers may be signed in, and their errors are pages as well."""

    def __init__(self) -> None:
        super().__init__(UiParts)

    def form(self, path: str, *, need: Need) -> Callable[[View[UiParts]], View[UiParts]]:
        """Declare the view of a form that is sent to a path directly below ``/ui/``."""
        return self("POST", path, need=need, answer=HTML, caller=caller_of, refused=error_page)

    def page(self, path: str, *, need: Need) -> Callable[[View[UiParts]], View[UiParts]]:
        """Declare a page at a path below ``/ui/``."""
        return self("GET", path, need=need, answer=HTML, caller=caller_of, refused=error_page)


def see_other(location: str, headers: Mapping[str, str] | None = None, accessor: str = "") -> Reply:
    """Return a redirect to a relative URL, after a form; ``accessor`` is as for a Reply."""
    given = {**HEADERS, **(headers or {}), "Cache-Control": "no-store", "Location": location}
    return Reply(b"", 303, content_type="", headers=given, accessor=accessor)


def root_of(path: str) -> str:
    """Return the relative URL of ``/ui/`` from a page's path, so that a proxy's prefix is kept."""
    return "../" * path.removeprefix("/ui/").count("/")


def link(root: str, *steps: str, **query: str) -> str:
    """Return a relative link to a page; parameters that are "" are left out."""
    given = {name: value for name, value in query.items() if value}
    path = root + "/".join(quote(step, safe="") for step in steps) or "./"
    return f"{path}?{urlencode(given)}" if given else path


def _same(request: Request, **changed: str | int) -> str:
    """Return a link to the same page with other parameters; those that are "" or 0 are left out."""
    asked = {name: value for name, value in request.query.items() if name in PARAMETERS}
    given = {name: value for name, value in {**asked, **changed}.items() if value}
    return f"?{urlencode(given)}"


def amount(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 plugin``, ``3,000 plugins``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _template(name: str) -> Any:
    """Return a template. The template engine is imported for the first page only, because most
    servers answer programs and never show a page."""
    return resolve_name("plugind.ui.templates:TEMPLATES").get_template(name)


def reply(
    look: Look,
    template: str,
    values: Mapping[str, Any],
    *,
    status: int = 200,
    is_kept: bool = True,
    is_live: bool = True,
    has_times: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Return a page. ``is_kept``: the page stays the same until the state changes or, with
    ``has_times``, until the next minute at most. ``is_live``: while open, the page follows the
    state, which a page with a form does not."""
    call, request = look.call, look.call.request
    found = look.facts.overview(look.sight)
    root = root_of(request.path)
    secret = _session_secret(call)
    body = _template(template).render(
        **_common(root),
        **values,
        problems=found.problems,
        look=look,
        is_live=is_live,
        sight=look.sight,
        types=[look.parts.types[name] for name in sorted(look.sight.lists)],
        here=request.path,
        icon=icon_url(root, STATES[found.severity], len(found.problems)),
        index=look.facts.state.index,
        caller=call.asked.caller,
        sign_out=form_token(secret) if secret else "",
        acl_enabled=call.acl.enabled,
        server_name=look.parts.name,
        to=partial(link, root),
        same=partial(_same, request),
    )
    return Reply(
        body.encode(),
        status,
        content_type=_CONTENT_TYPE,
        headers={**HEADERS, **(headers or {})},
        version=_version(look, secret, has_times=has_times) if is_kept and status == 200 else "",
    )


def _version(look: Look, secret: str, *, has_times: bool) -> str:
    """Return the version of a page: everything that it depends on other than its URL."""
    call = look.call
    version = [ASSETS_VERSION, look.parts.catalogue.generation, call.acl.generation]
    version += [call.asked.caller.accessor, form_token(secret)[:8] if secret else ""]
    version += [str(look.facts.state.index), str(time.time_ns() // MINUTE) if has_times else ""]
    return "-".join(version)


def _common(root: str) -> dict[str, Any]:
    """Return the values that every template gets, including that of errors."""
    return {
        "asset": lambda name: asset_url(root, name),
        "root": root,
        "version": __version__,
        "now": time.time_ns(),
    }


def _session_secret(call: Call[UiParts]) -> str:
    """Return the secret of the session that a call belongs to, "" if it belongs to none."""
    if not call.acl.enabled or call.secret:
        return ""
    is_there = session_of(call.parts, call.acl, call.request, time.time_ns())
    return cookie(call.request, COOKIE) if is_there else ""


def error_page(request: Request, refused: Reply) -> Reply:
    """Return a page that explains an error, with the error's status."""
    root = root_of(request.path)
    text = refused.body.decode() if isinstance(refused.body, bytes) else ""
    body = _template("error.html").render(
        **_common(root),
        status=refused.status,
        phrase=PHRASES.get(refused.status, ""),
        text=text,
        icon=icon_url(root, HEALTHY, 0),
        to=partial(link, root),
        may_sign_in=refused.status == 403 and not request.path.startswith("/ui/sign"),
        next=request.path.removeprefix("/ui/"),
    )
    return Reply(
        body.encode(),
        refused.status,
        content_type=_CONTENT_TYPE,
        headers={**refused.headers, **HEADERS},
    )
