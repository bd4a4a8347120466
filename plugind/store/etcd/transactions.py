"""Parts of transactions, and how many operations fit into one.

etcd takes at most 128 comparisons or operations at each level of a transaction, minus the number in
the levels above; a nested transaction counts as one operation
(https://etcd.io/docs/v3.4/op-guide/configuration/, --max-txn-ops).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from plugind.store.etcd.keys import end_of
from plugind.store.etcd.rpc_pb2 import (
    Compare,
    DeleteRangeRequest,
    PutRequest,
    RangeRequest,
    RequestOp,
    TxnRequest,
)

LEVEL = 40
"""Maximum number of operations in a level with nested levels: three levels of 40, which leaves 8
for the transactions in the lowest."""

MOST = 120
"""Maximum number of operations, and of comparisons, in a transaction whose nested transactions have
at most 8."""

REQUEST_BYTES = 1_310_720
"""Maximum bytes of a request, with some to spare: etcd's own limit is 1.5 MiB."""

T = TypeVar("T")


def put(key: bytes, value: bytes, lease: int = 0) -> RequestOp:
    return RequestOp(request_put=PutRequest(key=key, value=value, lease=lease))


def delete(key: bytes) -> RequestOp:
    return RequestOp(request_delete_range=DeleteRangeRequest(key=key))


def delete_all(prefix: bytes) -> RequestOp:
    return RequestOp(request_delete_range=DeleteRangeRequest(key=prefix, range_end=end_of(prefix)))


def get(key: bytes, *, keys_only: bool = False) -> RequestOp:
    return RequestOp(request_range=RangeRequest(key=key, keys_only=keys_only))


def absent(key: bytes) -> Compare:
    """Return the condition that a key does not exist."""
    return Compare(key=key, target=Compare.CREATE, result=Compare.EQUAL, create_revision=0)


def is_there(key: bytes) -> Compare:
    """Return the condition that a key exists."""
    return Compare(key=key, target=Compare.CREATE, result=Compare.GREATER, create_revision=0)


def none_with(prefix: bytes) -> Compare:
    """Return the condition that there is no key with a prefix."""
    return Compare(
        key=prefix,
        range_end=end_of(prefix),
        target=Compare.CREATE,
        result=Compare.EQUAL,
        create_revision=0,
    )


def at_revision(key: bytes, revision: int) -> Compare:
    """Return the condition that a key was last put at a revision."""
    return Compare(key=key, target=Compare.MOD, result=Compare.EQUAL, mod_revision=revision)


def not_after(key: bytes, revision: int) -> Compare:
    """Return the condition that a key was not put after a revision."""
    return Compare(key=key, target=Compare.MOD, result=Compare.LESS, mod_revision=revision + 1)


def not_before(key: bytes, revision: int) -> Compare:
    """Return the condition that a key was last put at a revision or later."""
    return Compare(key=key, target=Compare.MOD, result=Compare.GREATER, mod_revision=revision - 1)


def holds(key: bytes, value: bytes) -> Compare:
    """Return the condition that a key has this value."""
    return Compare(key=key, target=Compare.VALUE, result=Compare.EQUAL, value=value)


def below(key: bytes, value: bytes) -> Compare:
    """Return the condition that a key has a value smaller than this."""
    return Compare(key=key, target=Compare.VALUE, result=Compare.LESS, value=value)


def within(compare: Iterable[Compare], success: Iterable[RequestOp]) -> RequestOp:
    """Return a transaction as an operation of another one."""
    return RequestOp(request_txn=TxnRequest(compare=compare, success=success))


def packed(operations: Sequence[RequestOp], comparisons: int) -> Sequence[RequestOp]:
    """Nest operations in transactions of their own, level by level, so that all fit into one
    transaction that has ``comparisons`` comparisons, at most LEVEL."""
    if max(len(operations), comparisons) <= MOST:
        return operations
    while len(operations) > LEVEL:
        operations = [within((), each) for each in batches(operations, LEVEL)]
    return operations


def portions(operations: Iterable[RequestOp], size: int) -> Iterator[list[RequestOp]]:
    """Yield operations in lists that each fit into one transaction, of at most about ``size`` bytes
    unless a single operation is larger."""
    portion: list[RequestOp] = []
    total = 0
    for operation in operations:
        length = operation.ByteSize()
        if portion and (len(portion) == MOST or total + length > size):
            yield portion
            portion, total = [], 0
        portion.append(operation)
        total += length
    if portion:
        yield portion


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of a size; the last one may be smaller."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
