"""What identifies a node's report, a fingerprint and a secret, in a few characters.

None of them is kept in step with anything: each is derived from what is held whenever it is asked
for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from plugind.model import Allocation, Instance, Node


def of_node(node: Node, instances: Iterable[Instance], generations: Mapping[str, str]) -> str:
    """Identifies what is held of a node's last report, and what it was validated by (the version of
    each plugin type). A forget voids it, and it outlives a restart."""
    return _digest(
        [
            sorted(generations.items()),
            [node.name, node.datacenter, node.version, node.address],
            [node.attributes, node.meta],
            sorted([*one.key, one.digest] for one in instances if one.missing_since is None),
        ]
    )


def of_fingerprint(raw: Any, generation: str, allocation: Allocation | None = None) -> str:
    """Identifies a reported fingerprint with the process behind it, the times of both aside, and
    what it is validated by."""
    if isinstance(raw, Mapping):
        raw = {key: value for key, value in raw.items() if key != "UpdateTime"}
    process = [[allocation.name, allocation.job_id, allocation.task_group]] if allocation else []
    return _digest([generation, raw, *process])


def of_secret(secret: str) -> str:
    """Secrets are long and drawn at random, so one round of SHA-256 keeps them."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
