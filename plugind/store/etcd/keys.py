"""The names of the keys below the prefix, and how etcd's revisions map to indexes.

``PREFIX/current`` names the generation whose keys are in force: ``PREFIX/GENERATION/...``. An
import writes a new generation next to that one and then replaces ``current`` in one transaction, so
a half-written import is never in force. Outside the generations are ``PREFIX/servers/ID``, a key
for each running server, and ``PREFIX/duty``.

Below a generation:

- ``log/head``: every revision of this key is a record of one or more changes. ``log/floor`` has the
  index that the log reaches back to.
- ``doc/NODE``: a node with its instances, its forgotten marks and its kept secret, as one value.
- ``stamp/RESOURCE`` and ``made/HASH``: when a resource last changed, and when it was created.
- ``scope/HASH``: its revision says when a scope was last written.
- ``declared/TYPE/ID``, ``session/KEY``, ``run/ID``, ``beat/NODE/RUN``.
- ``history/...``: the transitions of a record, or imported ones. ``pruned`` has the index up to
  which transitions were deleted.
- ``id/ID``: marks a transaction as done, under a lease.
- ``aside/...``: parts of values that are too large for a transaction.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from dataclasses import dataclass

import msgspec

INDEXES = 256
"""Indexes per revision, and so the maximum number of changes in a record."""

SEQS = 2**16
"""Values of ``seq`` per revision, and so the maximum number of transitions in a record."""


GENERATION = "gen-"
"""The prefix of the names of generations."""


class Current(msgspec.Struct, frozen=True):
    """The value of ``current``: the store's identity, the generation of its keys, and the index
    and the ``seq`` of transitions at which that generation began."""

    identity: str
    generation: str
    index: int
    seq: int


@dataclass(frozen=True, slots=True)
class Indexes:
    """Maps revisions to indexes, in a generation that began with ``index`` at ``revision``.

    The last change of a record has the index of its revision, and the changes before it have the
    indexes just below. So the store's index follows from the revision of ``head`` alone. A reader
    that stopped within a record is treated as if it had seen none of that record.
    """

    index: int
    revision: int
    seq: int

    def of(self, revision: int) -> int:
        """Return the index of the last change of the record at a revision."""
        return self.index + (revision - self.revision) * INDEXES

    def revision_of(self, index: int) -> int:
        """Return the last revision whose changes are all at or below an index."""
        return self.revision + (index - self.index) // INDEXES

    def seq_of(self, revision: int, number: int) -> int:
        """Return the ``seq`` of the transition with a number in the record at a revision."""
        return self.seq + (revision - self.revision) * SEQS + number


def new_generation() -> str:
    """Return a unique name for a generation."""
    return f"{GENERATION}{uuid.uuid4().hex[:8]}"


def end_of(prefix: bytes) -> bytes:
    """Return the end of the range of keys with a prefix."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


class Root:
    """The keys outside the generations."""

    def __init__(self, prefix: str) -> None:
        self.name = prefix
        self.prefix = f"{prefix}/".encode()
        self.current = self.prefix + b"current"
        self.servers = self.prefix + b"servers/"
        self.duty = self.prefix + b"duty"
        self.proof = self.prefix + b"proof"


class Keys:
    """The keys of one generation."""

    def __init__(self, prefix: str, generation: str) -> None:
        self.prefix = f"{prefix}/{generation}/".encode()
        self.log = self.prefix + b"log/"
        self.floor = self.log + b"floor"
        self.head = self.log + b"head"
        self.pruned = self.prefix + b"pruned"
        (
            self.docs,
            self.stamps,
            self.mades,
            self.scopes,
            self.declared,
            self.sessions,
            self.runs,
            self.beats,
            self.histories,
            self.ids,
            self.asides,
        ) = (
            self.prefix + part + b"/"
            for part in (
                b"doc",
                b"stamp",
                b"made",
                b"scope",
                b"declared",
                b"session",
                b"run",
                b"beat",
                b"history",
                b"id",
                b"aside",
            )
        )

    def doc(self, node_id: str) -> bytes:
        return self.docs + node_id.encode()

    def stamp(self, resource: str) -> bytes:
        return self.stamps + resource.encode()

    def made(self, resource: str) -> bytes:
        return self.mades + _hash(resource)

    def scope(self, name: str) -> bytes:
        return self.scopes + _hash(name)

    def declaration(self, type_: str, plugin_id: str) -> bytes:
        return self.declared + f"{type_}/{plugin_id}".encode()

    def session(self, key: str) -> bytes:
        return self.sessions + key.encode()

    def run(self, run: str) -> bytes:
        return self.runs + run.encode()

    def beats_of(self, node_id: str) -> bytes:
        return self.beats + f"{node_id}/".encode()

    def beat(self, node_id: str, run: str) -> bytes:
        return self.beats_of(node_id) + run.encode()


def _hash(name: str) -> bytes:
    """Return a short hash of a name: a report of 4,096 new plugins must fit into a transaction."""
    return base64.urlsafe_b64encode(hashlib.blake2b(name.encode(), digest_size=9).digest())


def number(index: int) -> bytes:
    """Return an index as a value that etcd compares in numeric order."""
    return b"%020d" % index
