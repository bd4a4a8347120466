"""The generated code is what the documented command generates from csi.proto."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from plugin_types.csi import csi_pb2

ROOT = Path(__file__).parent.parent.parent
MADE = ("csi_pb2.py", "csi_pb2.pyi", "csi_pb2_grpc.py")
PROTO = "plugin_types/csi/csi.proto"


def test_making_it_again_gives_the_same_bytes(tmp_path: Path) -> None:
    kinds = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    tool = [sys.executable, "-W", "ignore", "-m", "grpc_tools.protoc", "-I.", *kinds, PROTO]
    subprocess.run(tool, cwd=ROOT, check=True)
    for name in MADE:
        made = tmp_path / "plugin_types" / "csi" / name
        assert made.read_bytes() == (ROOT / "plugin_types" / "csi" / name).read_bytes(), name


def test_capabilities_of_a_later_spec_are_received() -> None:
    later = b"\x0a\x04\x0a\x02\x08\x63"  # capabilities { rpc { type: 99 } }
    answer = csi_pb2.ControllerGetCapabilitiesResponse.FromString(later)
    assert [capability.rpc.type for capability in answer.capabilities] == [99]


def test_a_plugin_command_does_not_pay_for_grpc() -> None:
    code = (
        "import sys, plugin_types.csi; "
        "sys.exit(bool({'grpc', 'watchfiles', 'google.protobuf'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
