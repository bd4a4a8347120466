"""The templates of pages: text is escaped, and an undefined name is an error."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from plugind.model.times import format_time, time_text
from plugind.printable import lines
from plugind.ui.availability import day_of, parts_of, percent, span, strip_picture
from plugind.ui.pages import amount


def _shown(value: object) -> object:
    """Return the value of an expression in a template, with its control characters escaped; jinja2
    escapes it for HTML afterwards."""
    return lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


TEMPLATES = Environment(
    loader=PackageLoader("plugind.ui"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
TEMPLATES.filters |= {
    "machine_time": format_time,
    "human_time": lambda value: time_text(value).replace("T", " ").replace("Z", " UTC"),
    "number": "{:,}".format,
    "amount": amount,
    "percent": percent,
    "span": span,
    "parts": parts_of,
    "day": day_of,
    "picture": strip_picture,
}
