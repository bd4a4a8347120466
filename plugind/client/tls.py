"""The files of TLS connections to servers, and why they cannot be used.

They are read again for each new connection, so a renewed certificate needs no restart.
"""

from __future__ import annotations

import re
import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from plugind.client import transport
from plugind.printable import one_line

_KEY = re.compile(rb"^-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Tls:
    """The certificates to verify https servers with, and the certificate and key to show them.

    All are in PEM form. Without ``ca_file``, the certificates that the environment names are
    trusted, or else those that come with requests.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @property
    def verify(self) -> str | bool:
        """Return the certificates to trust, as requests takes them."""
        return transport.trusted_certificates(str(self.ca_file) if self.ca_file else None)

    @property
    def cert(self) -> tuple[str, str] | None:
        """Return the certificate and key to show, as requests takes them."""
        if self.cert_file is None or self.key_file is None:
            return None
        return str(self.cert_file), str(self.key_file)

    def why_unusable(self) -> str:
        """Return the first of the mistakes in one line; "" if there are none."""
        return next((f"{field} {reason}" for field, reason in self.mistakes()), "")

    def mistakes(self) -> Iterator[tuple[str, str]]:
        """Yield each mistake that keeps the files from being used: the name of a field, and its
        path with the reason."""
        if self.ca_file and (reason := _no_certificates(self.ca_file)):
            yield "ca_file", f"{self.ca_file} {reason}"
        cert, key = self.cert_file, self.key_file
        if cert and not key:
            yield "cert_file", f"{cert} needs key_file beside it, with the certificate's key"
        if key and not cert:
            yield "key_file", f"{key} needs cert_file beside it, with the key's certificate"
        if not cert or not key:
            return
        if reason := _no_certificates(cert):
            yield "cert_file", f"{cert} {reason}"
        elif reason := _no_key(key) or _no_pair(cert, key):
            yield "key_file", f"{key} {reason}"


class _IsEncrypted(Exception):
    """A key is encrypted: raised when OpenSSL would ask for its passphrase."""


def _no_certificates(path: Path) -> str:
    """Return why a file has no certificates in PEM form, "" when it has."""
    if reason := _unreadable(path):
        return reason
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        return "has no certificates in PEM form"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""


def _no_key(path: Path) -> str:
    """Return why a file has no private key in PEM form, "" when it seems to have one."""
    if reason := _unreadable(path):
        return reason
    try:
        has_key = _KEY.search(path.read_bytes())
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if has_key else "has no private key in PEM form"


def _unreadable(path: Path) -> str:
    """Return why a file cannot be read for every connection (a pipe cannot); "" when it can."""
    try:
        is_regular = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if is_regular else "is not a regular file"


def _no_pair(cert: Path, key: Path) -> str:
    """Return why a key cannot be used with a certificate, "" when it can."""

    def passphrase() -> str:
        raise _IsEncrypted

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, passphrase)
    except _IsEncrypted:
        return (
            "is encrypted, and nothing can ask for its passphrase: store it without one, readable "
            "by its user only"
        )
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"is not the key of the certificate in {cert}"
        words = (error.reason or "").replace("_", " ").lower()
        return one_line(f"cannot be used with {cert}: {words or error}")
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""
