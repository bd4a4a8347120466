"""Values as etcd has them: JSON, deflated if that pays, and split into parts if too large."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from plugind.errors import StoreError
from plugind.store.etcd.client import Client
from plugind.store.etcd.failures import RevisionGone
from plugind.store.etcd.keys import Keys, end_of
from plugind.store.etcd.rpc_pb2 import KeyValue, RangeRequest, RequestOp, TxnRequest
from plugind.store.etcd.transactions import delete, portions, put

PART_BYTES = 2**20
"""Bytes in each part of a value that was put aside, except the last."""

_DEFLATE_FROM = 200
_PLAIN, _DEFLATED, _ASIDE = b"\0", b"\1", b"\2"

LOAD_SECONDS = 3.0
"""Seconds for a call that may return or write a lot."""


def pack(value: bytes) -> bytes:
    """Return a value in the form in which it is put into etcd."""
    if len(value) >= _DEFLATE_FROM:
        return _DEFLATED + zlib.compress(value, 3)
    return _PLAIN + value


def packed_json(value: Any) -> bytes:
    return pack(msgspec.json.encode(value))


def is_aside(value: bytes) -> bool:
    """Return whether a value is only a pointer to its parts."""
    return value[:1] == _ASIDE


def unpack(value: bytes) -> bytes:
    """Return what ``pack`` was given. Raise StoreError for anything else."""
    kind, rest = value[:1], value[1:]
    try:
        if kind == _DEFLATED:
            return zlib.decompress(rest)
    except zlib.error as error:
        raise StoreError(f"a value in etcd is damaged: {error}; restore a backup") from error
    if kind != _PLAIN:
        raise StoreError("a value in etcd is of a newer version of plugind: update this server")
    return rest


class Asides:
    """Puts large values aside, in parts, and reads them back. Thread-safe."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def put(self, kind: str, values: Sequence[bytes]) -> list[bytes]:
        """Put packed values aside, in parts, and return a pointer to each of them."""
        names = [f"{kind}/{uuid.uuid4().hex}".encode() for _ in values]
        parts = (
            put(
                self._keys.asides + name + b"/%06d" % (start // PART_BYTES),
                value[start : start + PART_BYTES],
            )
            for name, value in zip(names, values, strict=True)
            for start in range(0, len(value), PART_BYTES)
        )
        for some in portions(parts, PART_BYTES):
            self._client.call("Txn", TxnRequest(success=some), LOAD_SECONDS)
        return [_ASIDE + name for name in names]

    def whole(self, value: bytes, revision: int = 0) -> bytes:
        """Return a packed value, or the packed value that a pointer points to. Its parts are read
        as of ``revision``, at which the pointer existed. Raise RevisionGone if they can no longer
        be read: then everything that depends on them has to be read again."""
        if not is_aside(value):
            return value
        prefix = self._keys.asides + value[1:] + b"/"
        request = RangeRequest(key=prefix, range_end=end_of(prefix), revision=revision)
        found: Sequence[KeyValue] = self._client.call("Range", request, LOAD_SECONDS).kvs
        if not found:
            raise RevisionGone("parts of a large value in etcd are gone: load the store again")
        return b"".join(each.value for each in found)

    def mark(self, value: bytes) -> RequestOp:
        """Return the operation that adds an empty part, so that the newest part of a value has the
        revision of the transaction that points to it."""
        return put(self._keys.asides + value[1:] + b"/~", b"")

    def removal(self, value: bytes) -> list[RequestOp]:
        """Return the operations that remove the parts of a value, if it has any."""
        if not is_aside(value):
            return []
        prefix = self._keys.asides + value[1:] + b"/"
        operation = delete(prefix)
        operation.request_delete_range.range_end = end_of(prefix)
        return [operation]
