"""Configuration: HCL or JSON files, variables and flags, read into frozen settings.

``load`` does all of it; ``setting_rows`` lists the core's settings for a command line's options.
"""

from __future__ import annotations

from plugind.config.loading import Loader, Plugins, load
from plugind.config.overrides import Row, setting_rows
from plugind.config.settings import PluginTypeChoice, Settings

__all__ = ["Loader", "PluginTypeChoice", "Plugins", "Row", "Settings", "load", "setting_rows"]
