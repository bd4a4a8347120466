"""The systemd units in docs/running.md are valid, and create the folders that plugind needs."""

from __future__ import annotations

import re
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from tests.processes import PLUGIND
from tests.promises import COMMAND_MAXIMUM
from tests.support import needs
from tests.test_docs import ROOT

TEXT = (ROOT / "docs/running.md").read_text()
UNITS = [
    text
    for text in re.findall(r"^```ini\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    if "[Service]" in text
]


def test_systemd_finds_no_fault_with_them(tmp_path: Path) -> None:
    needs("/usr/bin/systemd-analyze", "systemd")
    assert len(UNITS) == 2
    for number, text in enumerate(UNITS):
        file = tmp_path / f"plugind{number}.service"
        file.write_text(text.replace("/opt/plugind/bin/plugind", str(PLUGIND)))
        done = subprocess.run(
            ["systemd-analyze", "verify", "--recursive-errors=no", file],
            capture_output=True,
            text=True,
            timeout=COMMAND_MAXIMUM,
        )
        assert (done.returncode, done.stderr) == (0, ""), text


@pytest.mark.parametrize("text", UNITS)
def test_they_make_the_folders_that_the_documents_speak_of(text: str) -> None:
    unit = RawConfigParser()
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    service = unit["Service"]
    assert service["StateDirectory"] == service["LogsDirectory"] == "plugind"
    assert service["ExecReload"] == service["ExecStart"].replace(" agent ", " reload ")
    # systemd gives up after five starts within ten seconds.
    assert int(service["RestartSec"]) > 2
