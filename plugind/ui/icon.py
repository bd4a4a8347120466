"""The icon in a browser's tab, which shows how many problems there are."""

from __future__ import annotations

from plugind.api.endpoints import Call, Endpoints, no_token
from plugind.api.reply import Reply
from plugind.ui.parts import UiParts

_COLOURS = {"healthy": "#1a7f4b", "degraded": "#9a6700", "down": "#c4302b"}
_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">\
<rect width="32" height="32" rx="7" fill="{colour}"/>{mark}</svg>
"""
_TICK = """\
<path d="M8 17l6 6 11-13" fill="none" stroke="#fff" stroke-width="4" \
stroke-linecap="round" stroke-linejoin="round"/>"""
_NUMBER = """\
<text x="16" y="23" text-anchor="middle" font-family="sans-serif" font-weight="bold" \
font-size="{size}" fill="#fff">{text}</text>"""
_MANY = 99


endpoints = Endpoints(UiParts)


def icon_url(root: str, state: str, problems: int) -> str:
    """Return the URL of the icon for a number of problems; ``state`` is the worst state."""
    return f"{root}static/icon/{state}/{min(problems, _MANY + 1)}"


@endpoints(
    "GET",
    "/ui/static/icon/<state>/<number>",
    need=no_token,
    answer={"type": "string"},
)
def icon(call: Call[UiParts], state: str, number: str) -> Reply:
    """Draw the icon for the state and the number of problems in the URL."""
    is_number = number.isascii() and number.isdigit()
    count = min(int(number[:4]), _MANY + 1) if is_number else 0
    mark = _TICK
    if count:
        text = f"{count}" if count <= _MANY else "99+"
        mark = _NUMBER.format(size={1: 22, 2: 18}.get(len(text), 14), text=text)
    body = _SVG.format(colour=_COLOURS.get(state, _COLOURS["healthy"]), mark=mark)
    headers = {"Cache-Control": "public, max-age=31536000", "X-Content-Type-Options": "nosniff"}
    return Reply(body.encode(), content_type="image/svg+xml", headers=headers)
