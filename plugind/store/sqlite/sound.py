"""Checks, row by row, that a store's file can be read completely and does not contradict itself.

The rules are those of ``plugind.store.soundness``, which checks contents in memory. Here SQLite
joins its tables, so a file of any size takes little memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from plugind.model import NODES, StoredTransition, node_of, plugins_of
from plugind.store.base import Summary
from plugind.store.exporting import KINDS
from plugind.store.sqlite import items
from plugind.store.sqlite.file import Damaged, schema
from plugind.store.sqlite.rows import SESSIONS, head

_PLUGIN = "'plugin/' || type || '/' || id"
_PLUGINS = f"'{plugins_of('')}' || type"
_NODE = f"'{node_of('')}' || id"
_KEY = "node_id || '/' || type || '/' || id || '/' || role"
_NO_NODE = "node_id NOT IN (SELECT id FROM nodes)"
_HERE = f"""
    SELECT {_NODE} AS resource FROM nodes
    UNION ALL SELECT {_PLUGIN} FROM instances UNION ALL SELECT {_PLUGIN} FROM declarations
"""
_RULES = {
    "instances have no node": f"SELECT {_KEY} AS name FROM instances WHERE {_NO_NODE}",
    "forgotten instances have no node": f"SELECT {_KEY} AS name FROM forgotten WHERE {_NO_NODE}",
    "kept secrets are of nodes that exist": f"""
        SELECT node_id AS name FROM kept_secrets WHERE NOT {_NO_NODE}
    """,
    "stamps are ahead": """
        SELECT resource AS name FROM stamps, store WHERE NOT (
            0 < create_index AND create_index <= modify_index AND modify_index <= last_index
        )
    """,
    "resources have no stamp": f"""
        SELECT resource AS name FROM (
            {_HERE}
            UNION ALL SELECT '{NODES}' FROM nodes
            UNION ALL SELECT {_PLUGINS} FROM instances
            UNION ALL SELECT {_PLUGINS} FROM declarations
        ) AS here WHERE NOT EXISTS (SELECT 1 FROM stamps WHERE stamps.resource = here.resource)
    """,
    "stamps are of nothing": f"""
        SELECT resource AS name FROM stamps
        WHERE resource NOT IN ({_HERE}) AND resource NOT IN ('{NODES}', 'history')
        AND substr(resource, 1, {len(plugins_of(""))}) <> '{plugins_of("")}'
    """,
}


def faults(db: sqlite3.Connection) -> Iterator[str]:
    """Yield the contradictions in a file, a line each."""
    for wrong, query in _RULES.items():
        number, first = db.execute(
            f"SELECT count(DISTINCT name), min(name) FROM ({query})"
        ).fetchone()
        if number:
            yield f"{number} {wrong}, the first {first!a}"


def examined(db: sqlite3.Connection) -> Summary:
    """Return a summary of a file of the newest schema. Raise Damaged for rows that cannot be read
    or contradict each other."""
    _, index = head(db)
    for kind in KINDS.values():
        if kind is not StoredTransition:
            for _ in items.read(db, kind):
                pass
    for _ in SESSIONS.rows(db):
        pass
    if fault := next(faults(db), ""):
        raise Damaged(fault)
    found = items.counts(db)
    return Summary(schema(db), index, found["node"], found["instance"], found["declaration"])
