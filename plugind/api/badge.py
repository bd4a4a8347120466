"""``/v1/plugin/TYPE/ID/badge.svg``: how many instances are healthy, to show on other sites."""

from __future__ import annotations

from collections.abc import Collection

from markupsafe import escape

from plugind.api.endpoints import Call, Endpoints, Source
from plugind.api.plugins import NOT_FOUND, PluginParts, may_read_plugin
from plugind.api.shapes import TEXT
from plugind.catalogue import Reading
from plugind.model import PluginKey
from plugind.printable import one_line

LABEL_MAXIMUM = 48
"""Most characters of an ID in a badge."""

_WIDTH = 6.6  # approximate pixels of a character in an 11-pixel font
_PADDING = 12
_GOOD, _SOME, _BAD = "#1a7040", "#8a5a00", "#b3261e"
_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" role="img" \
aria-label="{label}: {value}"><title>{label}: {value}</title>\
<clipPath id="r"><rect width="{whole}" height="20" rx="4"/></clipPath>\
<g clip-path="url(#r)"><rect width="{left}" height="20" fill="#3d4651"/>\
<rect x="{left}" width="{right}" height="20" fill="{colour}"/></g>\
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" \
text-anchor="middle"><text x="{label_x}" y="14">{label}</text>\
<text x="{value_x}" y="14">{value}</text></g></svg>
"""

_HEADERS = {"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff"}

endpoints = Endpoints(PluginParts)


@endpoints.read(
    "/v1/plugin/<type_>/<id_>/badge.svg",
    need=may_read_plugin,
    answer=TEXT,
    content_type="image/svg+xml",
    errors=(404,),
)
def read_badge(call: Call[PluginParts], type_: str, id_: str) -> Source:
    """Draw a badge with how many of a plugin's expected instances are healthy, over all its roles.

    An `<img>` sends no token, so a page of another site can show the badge only if callers without
    a token may read the plugin.
    """
    catalogue = call.parts.catalogue
    key = catalogue.named(PluginKey(type_, id_))

    def look() -> Reading:
        index, counts = catalogue.counts(key)
        return Reading(index, None if counts is None else badge(key.id, counts.values()))

    return Source(key.resource, look, NOT_FOUND, is_kept=False, headers=_HEADERS)


def badge(id_: str, counts: Collection[tuple[int, int]]) -> bytes:
    """Return a plugin's badge as SVG, with all text escaped. ``counts`` has the numbers of healthy
    and of expected instances in each role."""
    healthy, expected = (sum(column) for column in zip(*counts, strict=True))
    is_short = any(good < wanted for good, wanted in counts)
    label, value = one_line(id_, LABEL_MAXIMUM), f"{healthy:,} of {expected:,}"
    left, right = (round(len(text) * _WIDTH) + _PADDING for text in (label, value))
    drawn = _SVG.format(
        label=escape(label),
        value=value,
        colour=_GOOD if not is_short else _SOME if healthy else _BAD,
        whole=left + right,
        left=left,
        right=right,
        label_x=left / 2,
        value_x=left + right / 2,
    )
    return drawn.encode()
