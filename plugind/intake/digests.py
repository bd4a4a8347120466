"""Short digests that identify a node's report, a fingerprint, a plugin's report and a secret.

A digest never has to be kept in step with anything: it is derived from the current state whenever
it is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from plugind.model import Allocation, Instance, InstanceKey, Node, PluginKey

PLUGIN_BYTES = 16
_KEY = os.urandom(32)


def of_node(
    node: Node,
    instances: Iterable[Instance],
    generations: Mapping[str, str],
    ignored: Sequence[InstanceKey] = (),
) -> str:
    """Return a digest of what the state has of a node's last report, and of what validated it
    (the version of each plugin type). Forgetting instances changes it; a restart does not.

    ``ignored`` are the forgotten instances of the node whose unhealthy reports are ignored: when
    one of them is to be accepted again, the whole report is needed.
    """
    return _digest(
        [
            sorted(generations.items()),
            [node.name, node.datacenter, node.version, node.address],
            [node.attributes, node.meta],
            sorted([*one.key, one.digest] for one in instances if one.missing_since is None),
            *([[[*key] for key in ignored]] if ignored else []),
        ]
    )


def of_fingerprint(raw: Any, generation: str, allocation: Allocation | None = None) -> str:
    """Return a digest of a reported fingerprint and of the process behind it, both without their
    times, and of ``generation``, the version of the plugin type that validates it."""
    if isinstance(raw, dict):
        raw = {key: value for key, value in raw.items() if key != "UpdateTime"}
    process = [[allocation.name, allocation.job_id, allocation.task_group]] if allocation else []
    return _digest([generation, raw, *process])


def of_plugin(key: PluginKey, by_role: Any, processes: Iterable[Allocation | None]) -> bytes:
    """Return PLUGIN_BYTES that identify what a report says of a plugin, with its times, and the
    processes behind it; no bytes if that cannot be digested quickly.

    The digest uses a random key that only this process knows, so that no client can search for
    two reports that have the same digest.
    """
    described = [each and (each.name, each.job_id, each.task_group) for each in processes]
    try:
        text = orjson.dumps((*key, by_role, described))
    except TypeError:
        return b""
    return hashlib.blake2b(text, digest_size=PLUGIN_BYTES, key=_KEY).digest()


def of_secret(secret: str) -> str:
    """Return the hash of a secret: it is long and random, so one round of SHA-256 is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _digest(value: Any) -> str:
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # numbers of more than 64 bits, and halves of surrogate pairs
        text = json.dumps(value, sort_keys=True).encode()
    return hashlib.blake2b(text, digest_size=16).hexdigest()
