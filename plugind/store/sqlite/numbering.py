"""Gives contents that replace others a new identity and new indexes."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from plugind.model import Stamp, is_list
from plugind.store.sqlite.file import transaction
from plugind.store.sqlite.rows import STAMP, head

LEAP = 2**40
"""How far the index leaps beyond the greatest known one if it is not known which indexes clients
have seen since. A store may use up hundreds of indexes with each change, and do so for days."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """What clients may have seen of the replaced contents: the index, and the stamps by resource,
    which are None if they are not known.

    ``identity`` is that of the replaced store if the new contents may be those of another store:
    that one may have gone on since they were exported, and its clients may come along. It is None
    if the new contents are from the past of the replaced store.
    """

    index: int = 0
    stamps: Iterable[tuple[str, Stamp]] | None = None
    identity: str | None = None


def renumber(db: sqlite3.Connection, replaced: Replaced, lists: Collection[str]) -> None:
    """Make a file a new store that continues where the replaced one ended, with everything in it
    changed now.

    A resource counts as created now if the replaced store did not have it, or had another one of
    the same name. ``lists`` are the resources that clients may wait for even when they are empty.
    """
    now = time.time_ns()
    is_known = replaced.stamps is not None
    identity, last = head(db)
    is_own = replaced.identity in (None, identity)
    index = max(last, replaced.index) + (1 if is_known and is_own else LEAP)
    db.execute("DROP TABLE IF EXISTS replaced")
    with transaction(db):
        db.execute("DELETE FROM log")
        db.execute("DELETE FROM scopes")
        db.execute("DELETE FROM sessions")  # one that was ended since must not reopen
        db.execute(
            "UPDATE store SET identity = ?, last_index = ?, log_size = 0",
            (str(uuid.uuid4()), index),
        )
        db.execute(
            "CREATE TABLE replaced (resource TEXT PRIMARY KEY, create_index, create_time, is_list) "
            "WITHOUT ROWID"
        )
        db.executemany(
            "INSERT INTO replaced VALUES (?, ?, ?, ?)",
            (
                (name, one.create_index, one.create_time, is_list(name))
                for name, one in replaced.stamps or ()
            ),
        )
        if is_known:
            db.execute(
                """
                UPDATE stamps SET create_index = ?, create_time = ? WHERE NOT EXISTS (
                    SELECT 1 FROM replaced AS old WHERE old.resource = stamps.resource
                    AND old.create_index = stamps.create_index
                    AND old.create_time = stamps.create_time
                )
                """,
                (index, now),
            )
        db.execute("UPDATE stamps SET modify_index = ?, modify_time = ?", (index, now))
        there = db.execute("SELECT resource FROM replaced WHERE is_list").fetchall()
        names = {*lists, *(name for (name,) in there)}
        db.executemany(STAMP, [(name, index, now) for name in sorted(names)])
        db.execute("DROP TABLE replaced")
