"""The fixture of the tests of plugin type exec, which also run programs."""

from tests.exec.conftest import script

__all__ = ["script"]
