"""``plugind store``: checks, backs up and restores what the server keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import click

from plugind.cli import output
from plugind.cli.configured import configuration_options
from plugind.config.settings import Settings
from plugind.configured import load_settings
from plugind.errors import StoreError
from plugind.model import NODES, plugins_of
from plugind.store.maintenance import Summary
from plugind.store.maintenance import backup as back_up
from plugind.store.maintenance import check as look_through
from plugind.store.restoring import restore as put_back
from plugind.store.sqlite_file import FILE_NAME


@click.group()
def store() -> None:
    """Check and back up what the server keeps, also while it runs; restore it while it does not."""


@store.command()
@configuration_options
@click.argument("file", type=click.Path(path_type=Path))
def backup(paths: tuple[Path, ...], flags: Mapping[str, str], file: Path) -> None:
    """Write a checked copy of the store, as of now, to FILE, which must not be there yet."""
    click.echo(f"Wrote {file}: {_told(back_up(_database(paths, flags), file))}.")


@store.command()
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def check(paths: tuple[Path, ...], flags: Mapping[str, str], as_json: bool) -> None:
    """Look for damage in the whole store; the exit status is 1 when there is any."""
    found = look_through(_database(paths, flags))
    if as_json:
        output.print_json(asdict(found))
    else:
        click.echo(f"The store is sound: {_told(found)}.")


@store.command()
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.argument("file", type=click.Path(path_type=Path))
def restore(paths: tuple[Path, ...], flags: Mapping[str, str], as_json: bool, file: Path) -> None:
    """Put FILE, a copy that backup wrote, in the place of what the server keeps.

    The server must not run. What was there before is kept beside it under another name. Indexes go
    on from there, so that programs that wait for changes are told of this one.
    """
    settings, registry = load_settings(paths, flags, None)
    lists = [NODES, *(plugins_of(name) for name in registry.types)]
    done = put_back(file, _data_dir(settings), lists)
    if as_json:
        kept = str(done.kept) if done.kept else None
        output.print_json({**asdict(done.summary), "kept": kept})
        return
    click.echo(f"Restored {file}: {_told(done.summary)}.")
    if done.kept:
        click.echo(f"What was there before is kept as {done.kept}.")


def _database(paths: tuple[Path, ...], flags: Mapping[str, str]) -> Path:
    settings, _ = load_settings(paths, flags, None)
    return _data_dir(settings) / FILE_NAME


def _data_dir(settings: Settings) -> Path:
    if settings.store.name != "sqlite":
        raise StoreError(f"store {settings.store.name!r} has tools of its own for this")
    if settings.data_dir is None:
        raise StoreError("data_dir is not set: say where the server keeps its data")
    return settings.data_dir


def _told(found: Summary) -> str:
    return ", ".join(f"{name} {value}" for name, value in asdict(found).items())
