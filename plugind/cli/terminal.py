"""All text that commands write, except tables: safe for terminals, and encodable.

Most of the text comes from elsewhere: drivers, agents, packages, other servers.
"""

from __future__ import annotations

import io
import sys

import click

from plugind import printable


def tolerate_encodings() -> None:
    """Make standard output and error write escapes for characters that their encoding lacks.

    Otherwise Python would end the command with a UnicodeEncodeError, for example under
    PYTHONIOENCODING=ascii.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text, of one or more lines, to standard output, or to standard error with ``err``."""
    click.echo(printable.lines(text), err=err, nl=nl)


def make_safe(error: click.ClickException) -> click.ClickException:
    """Return the same error with a message that is safe to print, because click prints it."""
    vars(error)["message"] = printable.lines(error.message)  # Click declares it final.
    return error
