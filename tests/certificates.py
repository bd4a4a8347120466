"""Certificates for tests, made by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.promises import COMMAND_MAXIMUM
from tests.support import needs

OPENSSL = "/usr/bin/openssl"


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key."""

    cert: Path
    key: Path

    def encrypt(self, passphrase: str = "a passphrase") -> None:
        """Write the key back encrypted with the passphrase."""
        encrypted = self.key.with_suffix(".encrypted")
        words = ("pkey", "-aes256", "-in", self.key, "-out", encrypted)
        _openssl(*words, "-passout", f"pass:{passphrase}")
        encrypted.replace(self.key)


def certificate(
    folder: Path, name: str, *options: str, authority: Pair | None = None, subject: str = ""
) -> Pair:
    """Make ``NAME.crt`` and ``NAME.key``, signed by an authority or by itself."""
    needs(OPENSSL, "openssl")
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    signer = ("-CA", authority.cert, "-CAkey", authority.key) if authority else ()
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-keyout", pair.key, "-out", pair.cert, "-days", "2", "-subj", f"/CN={subject or name}"),
        *signer,
        *options,
    )
    return pair


def _openssl(*words: str | Path) -> None:
    subprocess.run([OPENSSL, *words], check=True, capture_output=True, timeout=COMMAND_MAXIMUM)
