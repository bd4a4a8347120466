"""Browsers that are signed in to the web page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is signed in with a token, which authorizes its requests.

    ``key`` is the hash of the secret that the browser has, ``accessor`` that of the token, and
    ``token`` a digest of the token's own hash, so that a new secret of the token ends the session.
    ``began`` and ``ends`` are in nanoseconds since the epoch.
    """

    key: str
    accessor: str
    token: str
    began: int
    ends: int
