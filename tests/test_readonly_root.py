"""A server on a read-only root file system, as in containers: only its data_dir is writable."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.processes import Machine, machine
from tests.promises import PATIENCE
from tests.support import SECRET, eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")

NODE = "11111111-2222-4333-8444-555555555555"
REPORT_MAXIMUM = 8 << 20

# In a new mount namespace: DATA is a tmpfs; all else is read-only, including the folders that
# programs use for temporary files.
INNER = """
set -e
mount --make-rprivate /
mount -t tmpfs none "$DATA"
awk '{print $5}' /proc/self/mountinfo | while read -r place; do
  case "$place" in
    "$DATA" | /proc | /proc/* | /sys | /sys/* | /dev | /dev/pts) ;;
    *) mount -o remount,ro,bind "$place" || true ;;
  esac
done
for folder in /tmp /var/tmp /usr/tmp /dev/shm "$PWD" /; do
  if touch "$folder/probe" 2>/dev/null; then echo "$folder can be written" >&2; exit 9; fi
done
exec "$@"
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def report(size: int) -> bytes:
    """Return a report of that many bytes: healthy instances, and one text as padding."""
    plugins = {
        f"p{number}": {"node": {"Healthy": True, "HealthDescription": "x" * 4_000}}
        for number in range(4_000 * size // (20 << 20))
    }
    whole = {"Name": "n", "Plugins": {"csi": plugins}, "Filler": ""}
    whole["Filler"] = "x" * (size - len(json.dumps(whole)))
    body = json.dumps(whole).encode()
    assert len(body) == size
    return body


def test_a_report_of_the_largest_size_needs_no_temporary_file(here: Machine) -> None:
    data = here.folder / "data"
    data.mkdir()
    process = here.start(
        *("agent", "--server-enabled", "true", "--ports-http", "0", "--data-dir", data / "store"),
        environ={"DATA": str(data), "TMPDIR": "/none"},
        wrapper=("unshare", "--mount", "/bin/sh", "-c", INNER, "sh"),
        folder=Path("/"),
    )
    address = eventually(lambda: re.search(r"address=(http://\S+)", process.logged))[1]
    headers = {"X-Plugind-Node-Secret": SECRET}
    for size in (600 << 10, REPORT_MAXIMUM):
        answer = requests.put(
            f"{address}/v1/node/{NODE}", data=report(size), headers=headers, timeout=PATIENCE
        )
        assert answer.status_code == 200, answer.text
    plugins = requests.get(f"{address}/v1/plugins?type=csi", timeout=PATIENCE).json()
    assert len(plugins) >= 1_000
    beat = requests.put(
        f"{address}/v1/node/{NODE}/heartbeat",
        data=json.dumps({"Digest": answer.json()["Digest"]}),
        headers=headers,
        timeout=PATIENCE,
    )
    assert beat.status_code == 200, beat.text
    assert process.stop() == 0
    assert "Traceback" not in process.logged


@pytest.mark.parametrize("command", [("agent", "--dev"), ("config", "validate", "--dev")])
def test_a_trial_without_a_temporary_folder_says_so(
    here: Machine, command: tuple[str, ...]
) -> None:
    data = here.folder / "data"
    data.mkdir()
    process = here.start(
        *command,
        environ={"DATA": str(data), "TMPDIR": "/none"},
        wrapper=("unshare", "--mount", "/bin/sh", "-c", INNER, "sh"),
        folder=Path("/"),
    )
    assert process.popen.wait(PATIENCE) == 1
    assert process.logged == (
        "Error: --dev needs a folder for temporary files: name one that can be written in TMPDIR\n"
    )
