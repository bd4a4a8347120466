"""The answers to requests that match no endpoint: the root, wrong paths and wrong methods."""

from __future__ import annotations

from collections.abc import Iterable

from plugind.api.reply import Reply, error_reply
from plugind.api.request import Request

_BY_ACCEPT = {"Vary": "Accept, Accept-Encoding"}
_ROOT = Reply(
    b"plugind keeps a catalogue of plugins: 'plugind plugin status' shows it, "
    b"/v1/plugins?type=TYPE answers with it, and /v1/openapi.json lists the whole API\n",
    content_type="text/plain; charset=utf-8",
    headers=_BY_ACCEPT,
)

TO_PAGES = Reply(
    b"",
    303,
    content_type="",
    headers={**_BY_ACCEPT, "Cache-Control": "no-store", "Location": "ui/"},
)
"""The relative redirect to the pages; a router's would name the host that the client sends."""

NO_PATH = error_reply("no such path; /v1/openapi.json lists those of the API", 404)


def root(request: Request) -> Reply:
    """Return a redirect to the pages for browsers, and a hint about paths for other clients."""
    wants_page = "text/html" in request.header("Accept").lower()
    return TO_PAGES if wants_page else _ROOT


def no_method(methods: Iterable[str]) -> Reply:
    """Return the answer for a path that only has other methods."""
    allow = {"Allow": ", ".join(sorted(methods))}
    return error_reply("Invalid method", 405, headers=allow)
