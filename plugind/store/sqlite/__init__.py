"""The embedded store: one SQLite file."""

from plugind.store.sqlite.store import FILES, SqliteStore, plugind_stores

__all__ = ["FILES", "SqliteStore", "plugind_stores"]
