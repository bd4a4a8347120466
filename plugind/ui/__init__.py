"""The web page. PAGES lists all its pages, which are served through the same flow as the API."""

from itertools import chain

from plugind.ui import assets, events, forms, icon, nodes, overview, plugin, plugins, server
from plugind.ui.pages import PARAMETERS
from plugind.ui.parts import UiParts

_MODULES = (overview, plugins, plugin, nodes, server, forms, events, assets, icon)

PAGES = tuple(chain.from_iterable(module.endpoints.table for module in _MODULES))

__all__ = ["PAGES", "PARAMETERS", "UiParts"]
