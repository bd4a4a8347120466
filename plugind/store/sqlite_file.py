"""The embedded store's file: its name, its lock, its schema, and how its faults are told.

Both the server and the commands that look after its file go through here.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from plugind.errors import StoreError
from plugind.store.base import FIRST_INDEX

FILE_NAME = "plugind.db"

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
)
"""The schema's history: the script at position N takes a file from user_version N to N + 1."""


class Damaged(Exception):
    """What a file holds is not what plugind wrote; the text says what, and where in the file."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Whatever goes wrong with the store's file becomes a StoreError of one line that names it."""
    try:
        yield
    except Damaged as error:
        raise StoreError(f"the store {path} is damaged: {error}") from error
    except sqlite3.Error as error:
        # The name tells apart what SQLite has one text for, as all that a disk may do.
        name = getattr(error, "sqlite_errorname", "")
        told = " ".join(str(error).split())
        raise StoreError(f"the store {path}: {told}{name and f' ({name})'}") from error
    except OSError as error:
        raise StoreError(f"{error.filename or path}: {error.strerror}") from error


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the block or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
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
    """A connection to a file that must be there. What goes wrong in the block, as well, becomes a
    StoreError that names the file. Only with mode "ro" is the file surely left as it is: else the
    last one that closes it folds its log in, as far as the log can be read."""
    if not path.is_file():
        raise StoreError(f"{path} is not there")
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    with (
        translated(path),
        closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10.0)) as db,
    ):
        yield db


def lock(data_dir: Path) -> int:
    """Takes the lock that keeps every other writer out of the folder; it goes with the process, or
    when the descriptor returned is closed."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        taken = os.open(
            data_dir / f"{FILE_NAME}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise StoreError(f"data_dir {data_dir}: {error.strerror}") from error
    try:
        fcntl.flock(taken, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(taken)
        raise StoreError(
            f"another plugind server is running on data_dir {data_dir}: stop it first"
        ) from error
    return taken


def schema(db: sqlite3.Connection) -> int:
    """The version of a file's schema; 0 for a file that holds nothing yet."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Takes the schema to that of today. Raises StoreError for a file of a newer plugind."""
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
