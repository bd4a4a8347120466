"""The fixture of the tests of plugin type exec, which run programs too."""

from tests.exec.conftest import script

__all__ = ["script"]
