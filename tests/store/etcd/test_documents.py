"""What documents and packages say about the store on etcd."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from plugind.config.reference import table
from plugind.store.etcd.settings import EtcdSettingsSchema
from tests.promises import COMMAND_MAXIMUM

ROOT = Path(__file__).parents[3]


def test_the_document_has_all_settings() -> None:
    assert table(EtcdSettingsSchema()) in (ROOT / "docs/etcd.md").read_text()


def test_grpc_is_not_loaded_until_a_store_is_opened() -> None:
    code = "import sys, plugind.store.etcd; sys.exit('grpc' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=COMMAND_MAXIMUM)
