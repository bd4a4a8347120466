"""Describes every setting in Markdown, from the same rows that check them.

``docs/configuration.md`` is what ``core_reference`` returns; make it anew with
``python -c "from plugind.config.reference import core_reference as r; print(r(), end='')"``.
"""

from __future__ import annotations

from collections.abc import Iterable

from marshmallow import Schema

from plugind.config.overrides import OTHERS, Row, rows_of, setting_rows
from plugind.config.shape import as_hcl
from plugind.plugin_type import SettingsSchema

_INTRODUCTION = """\
# Configuration

`plugind agent --config PATH` reads files or folders (their `*.hcl` and `*.json`, in the order of
their names); `--config` may be repeated. A later file wins, setting by setting; within one file a
repeat is a mistake. `null` takes a setting back to its default. Relative paths count from the file
that they stand in. Values are written out: HCL's expressions are not supported.

Over the files go variables, over these flags: `server.max_parked` is `PLUGIND_SERVER_MAX_PARKED`
and `--server-max-parked`. Lists are separated by commas there, and an empty variable counts as not
set. A variable that begins with `PLUGIND_` and names no setting is a mistake; these are read by the
command line: {others}.

JSON files have the same shape: objects for blocks, with labels as keys.

`plugind config validate PATH` tells all mistakes at once.
"""
_STORE = """\

## store "NAME"

Where the server keeps its catalogue; `store "sqlite" {}` in `data_dir` by default. When several
files name one, the last of them decides. `PLUGIND_STORE_...` sets what is in its block.
"""
_PLUGIN_TYPE = """\

## plugin_type "NAME"

How a plugin type finds and asks the plugins of a machine. These every type has; its own are in its
documentation. As variables: `PLUGIND_PLUGIN_TYPE_NAME_PROBE_INTERVAL` and so on.

"""
_PLUGIN = """\

## plugin "TYPE" "ID"

What is expected of a plugin: for each role of its type the number of instances, named by the
role's plural on the wire in lower case, as in `nodes_expected = 16`. What is not given is not
expected.
"""


def core_reference() -> str:
    """``docs/configuration.md``: all settings of the core, and what every plugin type has."""
    others = ", ".join(f"`{name}`" for name in sorted(OTHERS))
    rows = setting_rows()
    parts = [_INTRODUCTION.format(others=others), "\n## At the top\n\n"]
    parts += _table(row for row in rows if len(row.path) == 1)
    for block in dict.fromkeys(row.path[0] for row in rows if len(row.path) > 1):
        parts.append(f"\n## {block}\n\n")
        parts += _table(row for row in rows if row.path[0] == block)
    parts += [_STORE, _PLUGIN_TYPE, *_table(rows_of(SettingsSchema())), _PLUGIN]
    return "".join(parts)


def table(schema: Schema) -> str:
    """The settings of a plugin type or store, for its own documentation."""
    return "".join(_table(rows_of(schema)))


def _table(rows: Iterable[Row]) -> list[str]:
    head = "| setting | type | default | meaning |\n| --- | --- | --- | --- |\n"
    return [
        head,
        *(f"| `{row.path[-1]}` | {row.type} | {_default(row)} | {row.help} |\n" for row in rows),
    ]


def _default(row: Row) -> str:
    if callable(row.field.load_default):
        return str(row.field.metadata["default"])
    text = as_hcl(row.field, row.field.load_default)
    return f"`{text}`" if text else "none"
