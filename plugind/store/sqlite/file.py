"""The embedded store's file: its name, its schema, and how its faults are reported.

Both the server and the commands that maintain its file use this module.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from plugind.errors import StoreError
from plugind.store.base import FIRST_INDEX

FILE_NAME = "plugind.db"

TEMP_IN_MEMORY = "PRAGMA temp_store = MEMORY"
"""There may be no folder for temporary files, for example in a container with a read-only root."""

_CACHE = "PRAGMA cache_size = -16384"
"""16 MiB: the most memory that the pages of a file may take."""

MIGRATIONS = (
    """
    CREATE TABLE store (identity TEXT NOT NULL, last_index INTEGER NOT NULL);
    CREATE TABLE nodes (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, datacenter TEXT NOT NULL, version TEXT NOT NULL,
        address TEXT NOT NULL, attributes TEXT NOT NULL, meta TEXT NOT NULL,
        secret_hash TEXT NOT NULL, status TEXT NOT NULL, status_since INTEGER NOT NULL,
        back_since INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE instances (
        node_id TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, role TEXT NOT NULL,
        healthy INTEGER NOT NULL, description TEXT NOT NULL, updated INTEGER NOT NULL,
        alloc_id TEXT NOT NULL, details TEXT NOT NULL, digest TEXT NOT NULL, missing_since INTEGER,
        PRIMARY KEY (node_id, type, id, role)
    ) WITHOUT ROWID;
    CREATE TABLE declarations (
        type TEXT NOT NULL, id TEXT NOT NULL, expected TEXT NOT NULL, PRIMARY KEY (type, id)
    ) WITHOUT ROWID;
    CREATE TABLE stamps (
        resource TEXT PRIMARY KEY, create_index INTEGER NOT NULL, modify_index INTEGER NOT NULL,
        create_time INTEGER NOT NULL, modify_time INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
    "ALTER TABLE nodes ADD COLUMN cloned_since INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE instances ADD COLUMN allocation TEXT",
    # Before this version it was not stored when a node was last heard. For a node that is down, the
    # time at which that was noticed is the best approximation.
    """
    ALTER TABLE nodes ADD COLUMN heard INTEGER NOT NULL DEFAULT 0;
    UPDATE nodes SET heard = status_since WHERE status = 'down';
    CREATE TABLE forgotten (
        node_id TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, role TEXT NOT NULL,
        time INTEGER NOT NULL, ignored INTEGER NOT NULL, PRIMARY KEY (node_id, type, id, role)
    ) WITHOUT ROWID;
    CREATE TABLE beats (
        node_id TEXT PRIMARY KEY, heard INTEGER NOT NULL, ttl INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
    # At first, times from agents' clocks were not limited: a time in the future would decide for
    # years which version of a plugin is shown.
    """
    ALTER TABLE nodes ADD COLUMN accessor TEXT NOT NULL DEFAULT '';
    UPDATE instances SET updated = min(updated, strftime('%s', 'now') * 1000000000);
    CREATE TABLE kept_secrets (
        node_id TEXT PRIMARY KEY, secret_hash TEXT NOT NULL, accessor TEXT NOT NULL,
        time INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
    # From this version on, the times at which nodes were last heard are in a file of their own, and
    # in "beats" only in a backup. The log begins empty: each follower loads first.
    """
    ALTER TABLE store ADD COLUMN log_size INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE log (
        number INTEGER PRIMARY KEY, time INTEGER NOT NULL, size INTEGER NOT NULL,
        change BLOB NOT NULL
    );
    CREATE TABLE scopes (scope TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE transitions (
        seq INTEGER PRIMARY KEY, number INTEGER NOT NULL, kind TEXT NOT NULL, time INTEGER NOT NULL,
        since INTEGER NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, role TEXT NOT NULL,
        node_id TEXT NOT NULL, node TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL,
        reason TEXT NOT NULL, healthy INTEGER NOT NULL, count INTEGER NOT NULL,
        healthy_seconds INTEGER NOT NULL
    );
    CREATE INDEX transitions_by_plugin ON transitions (type, id, seq);
    CREATE INDEX transitions_by_node ON transitions (node_id, seq);
    CREATE INDEX transitions_flapping ON transitions (node_id, type, id, role, since)
        WHERE kind = 'flapping';
    """,
    """
    ALTER TABLE transitions ADD COLUMN version TEXT NOT NULL DEFAULT '';
    ALTER TABLE transitions ADD COLUMN until INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE runs (
        id TEXT PRIMARY KEY, start INTEGER NOT NULL, last INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE sessions (
        key TEXT PRIMARY KEY, accessor TEXT NOT NULL, token TEXT NOT NULL, began INTEGER NOT NULL,
        ends INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
)
"""The schema's history: the script at position N takes a file from user_version N to N + 1."""


class Damaged(Exception):
    """The contents of a file are not as plugind wrote them; the text names the fault and place."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise any fault of the store's file as a StoreError of one line that names the file."""
    try:
        yield
    except Damaged as error:
        raise StoreError(f"the store {path} is damaged: {error}") from error
    except sqlite3.Error as error:
        # The name distinguishes errors that share one text in SQLite, such as those of a disk.
        name = getattr(error, "sqlite_errorname", "")
        text = " ".join(str(error).split())
        raise StoreError(f"the store {path}: {text}{name and f' ({name})'}") from error
    except OSError as error:
        raise StoreError(f"{error.filename or path}: {error.strerror}") from error


@contextmanager
def transaction(db: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Run the block in a transaction: all of it is done, or nothing. With the kind "DEFERRED", the
    block only reads, all of it as of one moment."""
    db.execute(f"BEGIN {kind}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # Some errors, a full disk among them, have rolled back already.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def opened(path: Path, mode: str = "rw") -> Iterator[sqlite3.Connection]:
    """Open a connection to a file that must exist, and close it after the block.

    Faults, also within the block, are raised as a StoreError that names the file. Only the mode
    "ro" is sure to leave the file as it is: otherwise the last connection to close checkpoints the
    log, as far as it can be read.
    """
    if not path.is_file():
        raise StoreError(f"{path} is not there")
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    with (
        translated(path),
        closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10.0)) as db,
    ):
        db.execute(TEMP_IN_MEMORY)
        yield db


def schema(db: sqlite3.Connection) -> int:
    """Return the version of a file's schema; 0 for an empty file."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Migrate the schema to the newest version. Raise StoreError for a file of a newer plugind."""
    version = schema(db)
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} was written by a newer plugind (its schema is {version}, this one "
            f"knows {len(MIGRATIONS)}): upgrade plugind or restore a backup"
        )
    with transaction(db):
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            for statement in script.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
        if version == 0:
            db.execute(
                "INSERT INTO store (identity, last_index) VALUES (?, ?)",
                (str(uuid.uuid4()), FIRST_INDEX),
            )


def quick(db: sqlite3.Connection) -> None:
    """Make a connection write quickly, and with bounded memory, to a file that is made durable
    later or thrown away."""
    db.execute("PRAGMA journal_mode = OFF")
    db.execute("PRAGMA synchronous = OFF")
    db.execute(TEMP_IN_MEMORY)
    db.execute(_CACHE)
