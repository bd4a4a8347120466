"""Keeps the hashes of removed nodes' secrets, so that no other machine takes their IDs.

A node that was lost for too long, or left by itself, may come back; meanwhile, reports of another
machine under its ID are refused. A management token ends that, by unpinning the secret or by
forgetting the node. At most KEPT_MAXIMUM secrets are kept. Beyond that, the oldest secret of the
token with the most secrets is dropped, so that nodes created and removed with one token take no
place from the others.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable

from plugind.model import KeptSecret, Node, Step
from plugind.state import State

KEPT_MAXIMUM = 100_000
"""Secrets that are kept, over all tokens."""

Steps = list[Step[KeptSecret]]


def keep(state: State, nodes: Iterable[Node], now: int, over: Collection[KeptSecret] = ()) -> Steps:
    """Return the steps that keep the secrets of nodes that are removed ``now``, within the bound,
    and drop those that are ``over``."""
    new = [
        KeptSecret(node.id, node.secret_hash, node.accessor, now)
        for node in nodes
        if node.secret_hash
    ]
    dropped = set(over)
    beyond = len(state.kept_secrets) - len(dropped) + len(new) - KEPT_MAXIMUM
    if beyond > 0:
        left = [*(each for each in state.kept_secrets.values() if each not in dropped), *new]
        removed = set(_oldest_of_largest(left, beyond))
        dropped |= removed - set(new)
        new = [each for each in new if each not in removed]
    return [*(Step(None, each) for each in new), *drop(dropped)]


def drop(kept: Iterable[KeptSecret]) -> Steps:
    """Return the steps that drop kept secrets."""
    return [Step(each, None) for each in kept]


def expired(state: State, now: int, keep: int) -> list[KeptSecret]:
    """Return the secrets that have been kept for ``keep`` nanoseconds."""
    return [each for each in state.kept_secrets.values() if is_over(each, now, keep)]


def is_over(kept: KeptSecret, now: int, keep: int) -> bool:
    """Return whether a secret has been kept for ``keep`` nanoseconds, and no longer counts."""
    return now - kept.time >= keep


def _oldest_of_largest(kept: Iterable[KeptSecret], number: int) -> Iterable[KeptSecret]:
    """Yield ``number`` of the secrets, each the oldest of the token that has the most left."""
    by_token: defaultdict[str, deque[KeptSecret]] = defaultdict(deque)
    for each in sorted(kept, key=lambda one: (one.time, one.node_id)):
        by_token[each.accessor].append(each)
    for _ in range(number):
        yield max(by_token.values(), key=len).popleft()
