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

    ``acl`` has the policies and tokens that were looked up before, for the first use of them.
    ``parked`` is for how many seconds it waited for a change.
    ``endpoint`` is the one that the request came to, if any. ``key`` has all that the answer to a
    read depends on, by which it may be kept; None for none. ``may_be_kept``: the answer is of a
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
