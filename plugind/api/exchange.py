"""A request between its arrival and its answer."""

from __future__ import annotations

import time
from collections.abc import Hashable
from dataclasses import dataclass, field

from plugind.acl import Acl
from plugind.api.endpoints import Endpoint
from plugind.api.request import Request
from plugind.api.turns import Turn


@dataclass(slots=True)
class Exchange:
    """A request, its turn, and the facts that are logged once it is answered.

    ``acl`` has policies and tokens that were looked up early, to be used once. ``parked`` is how
    many seconds the request waited for a change. ``endpoint`` is the one that it came to, if any.
    ``key`` has every part of the request that the answer to a read depends on, and is the key that
    the answer may be kept under; None if it may not be kept. ``may_be_kept``: the answer is of a
    kind that is kept.
    """

    request: Request
    turn: Turn
    began: float = field(default_factory=time.monotonic)
    parked: float = 0.0
    acl: Acl | None = None
    endpoint: Endpoint | None = None
    accessor: str = ""
    decision: str = ""
    rule: str = ""
    key: Hashable = None
    may_be_kept: bool = False
