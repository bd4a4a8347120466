"""The description of every setting in Markdown, generated from the rows that validate them.

``docs/configuration.md`` is the text that ``core_reference`` returns; regenerate it with ``python
-c "from plugind.config.reference import core_reference as r; print(r(), end='')"``.
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
repeat is a mistake. `null` resets a setting to its default. Relative paths count from the file that
they are written in. Values must be constants: HCL's expressions are not supported.

Variables override files, and flags override variables: `server.max_parked` is
`PLUGIND_SERVER_MAX_PARKED` and `--server-max-parked`. Lists are separated by commas there, objects
are written as `NAME=TEXT,NAME=TEXT`, and an empty variable counts as not set. A variable that
begins with `PLUGIND_` and names no setting is a mistake; these are read by the command line:
{others}.

JSON files have the same shape: objects for blocks, with labels as keys. A file that begins with a
brace is JSON, too, whatever its name. As in Nomad's files, names may be in quotes, and commas may
follow settings, in JSON also the last one.

`plugind config validate PATH` finds all mistakes at once, and everything else that would make a
start fail. `plugind config show PATH` prints every setting with its value and its origin.

Settings marked with "by a reload" take effect on a reload; all others need a restart.
"""
_STORE = """\

## store "NAME"

Where the server keeps its catalogue; `store "sqlite" {}` in `data_dir` by default. When several
files name one, the last of them decides. `PLUGIND_STORE_...` sets the settings in its block.
"""
_PLUGIN_TYPE = """\

## plugin_type "NAME"

The settings with which a plugin type finds and probes the plugins of a machine; an agent takes
changes by a reload. Every type has these; its own are in its documentation. As variables:
`PLUGIND_PLUGIN_TYPE_NAME_PROBE_INTERVAL` and so on.

"""
_PLUGIN = """\

## plugin "TYPE" "ID"

The number of instances that are expected of a plugin, for each role of its type, named by the
role's plural on the wire in lower case, as in `nodes_expected = 16`. A role without a number
expects none. A server takes changes by a reload.
"""


def core_reference() -> str:
    """Return ``docs/configuration.md``: all settings of the core and of every plugin type."""
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
    """Return the settings of a plugin type or store as a table, for its own documentation."""
    return "".join(_table(rows_of(schema)))


def _table(rows: Iterable[Row]) -> list[str]:
    head = "| setting | type | default | meaning |\n| --- | --- | --- | --- |\n"
    return [
        head,
        *(
            f"| `{row.path[-1]}` | {row.type} | {_default(row)} | {row.help}{_reload(row)} |\n"
            for row in rows
        ),
    ]


def _reload(row: Row) -> str:
    roles = row.field.metadata.get("reload", ())
    if not roles:
        return ""
    return " (by a reload)" if len(roles) > 1 else f" (by a reload, on a {roles[0]})"


def _default(row: Row) -> str:
    if callable(row.field.load_default):
        return str(row.field.metadata["default"])
    text = as_hcl(row.field, row.field.load_default)
    return f"`{text}`" if text else "none"
