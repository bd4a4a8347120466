"""``plugind store``: check, back up, export and restore the server's data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from plugind.cli import output, terminal
from plugind.cli.commands import Group, examples
from plugind.cli.configured import configuration_options
from plugind.errors import StoreError
from plugind.model import NODES, plugins_of
from plugind.store.base import Progress, Restored, Store, Summary
from plugind.types.configured import load_settings


@click.group(cls=Group)
def store() -> None:
    """Check, back up and export the server's data, also while it runs, and restore it."""


PROGRESS_SECONDS = 2.0
"""Seconds between two lines of progress."""

_CONFIG = "--config /etc/plugind"


@store.command(epilog=examples(f"plugind store backup /var/backups/plugind.db {_CONFIG}"))
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.argument("file", type=click.Path(path_type=Path))
def backup(paths: tuple[Path, ...], flags: Mapping[str, str], as_json: bool, file: Path) -> None:
    """Write a checked copy of the store, as of now, to FILE, which must not exist yet.

    The server may go on running. Run this on its machine and as its user: the server's data_dir,
    from its configuration, says where the store is.
    """
    kind, settings, data_dir, _ = _store(paths, flags)
    _show_written(kind.backup(settings, data_dir, file), file, as_json)


@store.command(epilog=examples(f"plugind store check {_CONFIG}"))
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def check(paths: tuple[Path, ...], flags: Mapping[str, str], as_json: bool) -> None:
    """Look for damage in the whole store.

    The server may go on running. The exit status is 1, with the reason, when there is damage.
    """
    kind, settings, data_dir, _ = _store(paths, flags)
    found = kind.check(settings, data_dir)
    if as_json:
        output.print_json(asdict(found))
    else:
        terminal.echo(f"The store is sound: {_counts(found)}.")


@store.command(epilog=examples(f"plugind store restore /var/backups/plugind.db {_CONFIG}"))
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.argument("file", type=click.Path(path_type=Path))
def restore(paths: tuple[Path, ...], flags: Mapping[str, str], as_json: bool, file: Path) -> None:
    """Replace the server's data by FILE, a copy that "store backup" wrote.

    The server must be stopped first. The previous data is kept beside it under another name, which
    is printed. Indexes go on from there, so that programs that wait for changes wake up.
    """
    kind, settings, data_dir, lists = _store(paths, flags)
    _show_restored(kind.restore(settings, data_dir, file, lists), "Restored", file, as_json)


@store.command(epilog=examples(f"plugind store export /var/backups/plugind.jsonl {_CONFIG}"))
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.argument("file", type=click.Path(path_type=Path))
def export(paths: tuple[Path, ...], flags: Mapping[str, str], as_json: bool, file: Path) -> None:
    """Write the store as JSON lines, history included, to FILE, which must not exist yet.

    Every kind of store can import the file, so that this also moves a server from one to another.
    The server may go on running: reports that come after the command began are left out.
    """
    kind, settings, data_dir, _ = _store(paths, flags)
    found = kind.export(settings, data_dir, file, _progress("exported"))
    _show_written(found, file, as_json)


@store.command("import", epilog=examples(f"plugind store import plugind.jsonl {_CONFIG}"))
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.argument("file", type=click.Path(path_type=Path))
def import_(paths: tuple[Path, ...], flags: Mapping[str, str], as_json: bool, file: Path) -> None:
    """Replace what the server keeps by FILE, which "store export" wrote, of any kind of store.

    The server must be stopped first. The configuration says which store is filled. The whole file
    is checked before anything is replaced; apart from that it works as "store restore".
    """
    kind, settings, data_dir, lists = _store(paths, flags)
    done = kind.import_(settings, data_dir, file, lists, _progress("imported"))
    _show_restored(done, "Imported", file, as_json)


def _store(
    paths: tuple[Path, ...], flags: Mapping[str, str]
) -> tuple[type[Store], Any, Path, list[str]]:
    """Return the configured store's class and settings, the data_dir, and the lists that clients
    may wait for even if they were always empty.
    """
    settings, registry = load_settings(paths, flags, None)
    if settings.data_dir is None:
        raise StoreError("data_dir is not set: give the server's configuration or --data-dir")
    kind = registry.stores[settings.store.name]
    lists = [NODES, *(plugins_of(name) for name in registry.types)]
    return kind, settings.store.settings, settings.data_dir, lists


def _progress(done: str) -> Progress:
    """Return a function that prints progress on standard error, at most every PROGRESS_SECONDS."""
    next_at = time.monotonic() + PROGRESS_SECONDS

    def report(count: int, total: int) -> None:
        nonlocal next_at
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + PROGRESS_SECONDS
            terminal.echo(f"{count:,} of {total:,} {done}", err=True)

    return report


def _show_written(found: Summary, file: Path, as_json: bool) -> None:
    if as_json:
        output.print_json({**asdict(found), "file": str(file)})
    else:
        terminal.echo(f"Wrote {file}: {_counts(found)}.")


def _show_restored(done: Restored, word: str, file: Path, as_json: bool) -> None:
    if as_json:
        kept = str(done.kept) if done.kept else None
        output.print_json({**asdict(done.summary), "kept": kept})
        return
    terminal.echo(f"{word} {file}: {_counts(done.summary)}.")
    if done.kept:
        terminal.echo(f"The previous data is kept as {done.kept}.")


def _counts(found: Summary) -> str:
    return ", ".join(f"{name} {value}" for name, value in asdict(found).items())
