"""plugind: one catalogue of the plugins that run on a fleet of machines."""

from importlib.metadata import version

__version__ = version("plugind")
