"""Keys that vanish with their server: one says that it runs, another that it has the duty.

Times are those of CLOCK_BOOTTIME, which goes on while this machine is suspended, as etcd's leases
do.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from plugind.errors import StoreError
from plugind.store.etcd.client import Client
from plugind.store.etcd.failures import LeaseGone
from plugind.store.etcd.rpc_pb2 import (
    Compare,
    LeaseGrantRequest,
    LeaseKeepAliveRequest,
    LeaseRevokeRequest,
    TxnRequest,
)
from plugind.store.etcd.transactions import absent, get, put

ID_SECONDS = 900
"""Seconds that the lease of transactions' keys lasts. A transaction can be recognized as done for
at least ID_FRESH seconds less than this."""

ID_FRESH = 300.0
"""Seconds for which the same lease is given to the keys of new transactions."""


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """A lease of ``ttl`` seconds. Thread-safe."""

    def __init__(self, client: Client, ttl: int) -> None:
        self._client = client
        self._ttl = ttl
        self._lock = threading.Lock()
        self.id = 0
        self.until = 0.0
        """The time before which the lease cannot have ended; 0 if there is none."""

    def grant(self) -> int:
        """Take a new lease, and return its ID."""
        with self._lock:
            begun = now()
            response = self._client.call("LeaseGrant", LeaseGrantRequest(TTL=self._ttl))
            self.id, self.until = response.ID, begun + response.TTL
            return self.id

    def renew(self) -> bool:
        """Restart the time of the lease. Return whether the lease still existed."""
        with self._lock:
            if not self.id:
                return False
            begun = now()
            response = self._client.call("LeaseKeepAlive", LeaseKeepAliveRequest(ID=self.id))
            if response.TTL <= 0:
                self.id, self.until = 0, 0.0
                return False
            self.until = begun + response.TTL
            return True

    def revoke(self) -> None:
        """End the lease, and its keys with it, if etcd can be reached."""
        with self._lock:
            held, self.id, self.until = self.id, 0, 0.0
            if held:
                with suppress(StoreError):
                    self._client.call("LeaseRevoke", LeaseRevokeRequest(ID=held))


class TransactionLease:
    """The lease of the keys by which transactions are recognized; many keys share it."""

    def __init__(self, client: Client) -> None:
        self._lease = Lease(client, ID_SECONDS)
        self._granted = 0.0

    def __call__(self) -> int:
        """Return the ID of a lease that lasts for at least ten more minutes."""
        if not self._lease.id or now() - self._granted > ID_FRESH:
            moment = now()
            self._lease.grant()
            self._granted = moment
        return self._lease.id

    def forget(self) -> None:
        """Forget the lease: the next call takes another one."""
        self._lease.id = 0


class LeasedKey:
    """A key that only one server can hold, for as long as its lease lasts. Thread-safe.

    ``conditions`` must hold when the key is put.
    """

    def __init__(
        self, client: Client, key: bytes, value: bytes, ttl: int, *conditions: Compare
    ) -> None:
        self._client = client
        self._key = key
        self._value = value
        self._conditions = conditions
        self._lease = Lease(client, ttl)
        self._turn = threading.Lock()
        self._is_put = False
        self.other = ""
        """The name of the server that holds the key instead, as far as known."""

    @property
    def is_held(self) -> bool:
        """Return whether this server certainly holds the key."""
        return self._is_put and now() < self._lease.until

    def take(self) -> bool:
        """Put the key if no server holds it. Return whether this one does. Raise StoreError."""
        with self._turn:
            if self.is_held:
                return True
            self._is_put = False
            lease = self._lease.id if now() < self._lease.until else self._lease.grant()
            request = TxnRequest(
                compare=[absent(self._key), *self._conditions],
                success=[put(self._key, self._value, lease)],
                failure=[get(self._key)],
            )
            try:
                response = self._client.call("Txn", request)
            except LeaseGone:
                self._lease.id, self._lease.until = 0, 0.0
                return False
            if response.succeeded:
                self._is_put = True
            else:
                held = response.responses[0].response_range.kvs
                self.other = held[0].value.decode(errors="replace") if held else ""
                # An earlier put may have succeeded although its answer was lost.
                self._is_put = bool(held) and held[0].lease == lease
            return self.is_held

    def renew(self) -> None:
        """Renew the lease of the key, if this server holds it. Raise StoreError."""
        with self._turn:
            if self._is_put and not self._lease.renew():
                self._is_put = False

    def release(self) -> None:
        with self._turn:
            self._is_put = False
            self._lease.revoke()
