"""Leaves out what this version of plugind cannot run."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("plugind.store.etcd") else ["test_on_etcd.py"]
