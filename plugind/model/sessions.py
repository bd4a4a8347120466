"""Browsers that are signed in to the web page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is signed in with a token, which its requests are authorized by.

    ``key`` is the hash of the secret that the browser has, ``accessor`` that of the token. It began
    and ends at times in nanoseconds since the epoch.
    """

    key: str
    accessor: str
    began: int
    ends: int
