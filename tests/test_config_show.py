"""The command ``plugind config show``."""

from __future__ import annotations

import json
from pathlib import Path

from tests.test_cli import plugind


def test_it_shows_files_variables_and_options_together(tmp_path: Path) -> None:
    first, second = tmp_path / "10.hcl", tmp_path / "20.hcl"
    first.write_text('region = "eu"\nserver {\n  max_parked = 5\n}\n')
    second.write_text('region = "us"\n')
    done = plugind(
        *("config", "show", str(tmp_path), "--ports-http", "5646"), PLUGIND_SERVER_MAX_PARKED="6"
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = {" ".join(line.split()) for line in done.stdout.splitlines()}
    assert {
        f'region = "us" # {second}:1:1, over {first}:1:1 ("eu")',
        "http = 5646 # --ports-http",
        f"max_parked = 6 # PLUGIND_SERVER_MAX_PARKED, over {first}:3:3 (5)",
        'heartbeat_ttl = "30s" # default',
        'store "sqlite" {',
        'plugin_type "exec" {',
    } <= lines
    shown = tmp_path / "shown"
    shown.write_text(done.stdout)
    assert plugind("config", "show", str(shown), "--json").returncode == 0


def test_json_is_for_programs(tmp_path: Path) -> None:
    done = plugind("config", "show", "--dev", "--json")
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert (rows["server.enabled"]["value"], rows["server.enabled"]["source"]) == (True, "--dev")
    assert rows["server.max_parked"] == {
        "name": "server.max_parked",
        "path": ["server", "max_parked"],
        "value": 200,
        "origin": "default",
        "source": "",
        "line": 0,
        "column": 0,
        "overrides": [],
    }


def test_a_configuration_with_mistakes_is_not_shown(tmp_path: Path) -> None:
    done = plugind("config", "show", "--server-max-parked", "many")
    assert (done.returncode, done.stdout) == (1, "")
    assert "--server-max-parked: server.max_parked must be a whole number" in done.stderr
