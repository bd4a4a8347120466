"""Imports structlog as if rich were not installed: rich takes 4 MiB for tracebacks in colours.

The first modules of plugind's own processes import this module before anything that logs. In a
program that only uses plugind, such as the tests of a plugin type, structlog is not changed.
"""

from __future__ import annotations

from importlib import import_module

from plugind.absent import absent

with absent("rich"):
    import_module("structlog")
