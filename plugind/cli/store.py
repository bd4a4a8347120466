"""``plugind store``: checks and backs up what the server keeps, also while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import click

from plugind.cli import output
from plugind.cli.configured import configuration_options, load_settings
from plugind.errors import StoreError
from plugind.store.maintenance import Summary
from plugind.store.maintenance import backup as back_up
from plugind.store.maintenance import check as look_through
from plugind.store.sqlite_file import FILE_NAME


@click.group()
def store() -> None:
    """Check and back up what the server keeps, also while it runs."""


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


def _database(paths: tuple[Path, ...], flags: Mapping[str, str]) -> Path:
    settings, _ = load_settings(paths, flags, None)
    if settings.store.name != "sqlite":
        raise StoreError(f"store {settings.store.name!r} has tools of its own for this")
    if settings.data_dir is None:
        raise StoreError("data_dir is not set: say where the server keeps its data")
    return settings.data_dir / FILE_NAME


def _told(found: Summary) -> str:
    return ", ".join(f"{name} {value}" for name, value in asdict(found).items())
