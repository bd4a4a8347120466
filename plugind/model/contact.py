"""The contact of a server with its store."""

from __future__ import annotations

from typing import NamedTuple


class Contact(NamedTuple):
    """Whether the store can be reached, and how many seconds ago it last answered."""

    is_known: bool = True
    age: float = 0.0


IN_CONTACT = Contact()
