"""Build outside of the checkout, where setuptools would leave ``build/`` and ``plugind.egg-info/``.

Everything else is declared in setup.cfg.
"""

import tempfile

from setuptools import setup

with tempfile.TemporaryDirectory(prefix="plugind-build-") as folder:
    setup(options={"build": {"build_base": folder}, "egg_info": {"egg_base": folder}})
