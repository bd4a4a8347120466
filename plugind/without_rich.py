"""Imports structlog as if rich were not installed, which takes 4 MiB for tracebacks in colours.

The modules with which processes of plugind's own begin import it before anything that logs. In a
program that only uses plugind, such as the tests of a plugin type, structlog stays as it is.
"""

from __future__ import annotations

from importlib import import_module

from plugind.absent import absent

with absent("rich"):
    import_module("structlog")
