"""The search for secrets at the end of each run does find secrets."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

import pytest

from tests.leaks import leaks


@pytest.mark.parametrize("before", ["sha256:", "sha256_", "z" * 100])
def test_a_secret_is_found_by_its_hash(tmp_path: Path, before: str) -> None:
    secret = secrets.token_urlsafe(32)
    (tmp_path / "tokens.hcl").write_text(before + hashlib.sha256(secret.encode()).hexdigest())
    kept = tmp_path / "node-secret"
    kept.write_text(secret)
    kept.chmod(0o600)
    log = tmp_path / "logs" / "a.log"
    log.parent.mkdir()
    log.write_text(f"error: no token {secret}, {'x' * 40}\n")
    assert leaks(tmp_path) == [str(log)]
    log.unlink()
    assert leaks(tmp_path) == []
    kept.chmod(0o644)
    assert leaks(tmp_path) == [str(kept)]
    kept.unlink()
