"""The files that pages load: a stylesheet, scripts. Their URLs change with their contents."""

from __future__ import annotations

import hashlib
from importlib.resources import files

from plugind.api.endpoints import Call, Endpoints, no_token
from plugind.api.reply import Reply
from plugind.errors import NotFound
from plugind.ui.parts import UiParts

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_FOREVER = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_ASSETS = {
    name: (files("plugind.ui") / "static" / name).read_bytes()
    for name in ("style.css", "page.js", "idiomorph.js")
}
_DIGESTS = {name: hashlib.sha256(body).hexdigest()[:12] for name, body in _ASSETS.items()}

ASSETS_VERSION = hashlib.sha256("".join(_DIGESTS.values()).encode()).hexdigest()[:12]
"""A digest of all files; it is part of the version of each page."""

endpoints = Endpoints(UiParts)


def asset_url(root: str, name: str) -> str:
    """Return the URL of a file, relative to a page from which ``/ui/`` is at ``root``."""
    return f"{root}static/{name}?v={_DIGESTS[name]}"


@endpoints("GET", "/ui/static/<name>", need=no_token, answer={"type": "string"}, errors=(404,))
def static_file(call: Call[UiParts], name: str) -> Reply:
    """Send a file that pages load; clients may cache it forever."""
    if name not in _ASSETS:
        raise NotFound("no such file")
    content_type = _TYPES[name[name.rindex(".") :]]
    return Reply(_ASSETS[name], content_type=content_type, headers=_FOREVER, version=_DIGESTS[name])
