"""``--help`` of every command: complete sentences, own options first, all options explained."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from plugind import __version__
from plugind.cli import command_line
from plugind.cli.commands import OptionUnder
from tests.test_cli import plugind

SETTINGS = "\nSettings, which override"


def contexts(
    command: click.Command, parent: click.Context | None = None
) -> Iterator[click.Context]:
    """Return a context of the command and of all commands below it, 80 columns wide."""
    context = click.Context(
        command, parent, info_name=command.name, terminal_width=80, **command.context_settings
    )
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from contexts(below, context)


HELPS = {context.command_path: context for context in contexts(command_line())}
GROUPS = [path for path, context in HELPS.items() if isinstance(context.command, click.Group)]


def test_every_command_is_looked_at() -> None:
    assert {"plugind", "plugind plugin status", "plugind acl token create", "plugind csi-tell"} <= {
        *HELPS
    }


@pytest.mark.parametrize("path", HELPS)
def test_help_is_good_enough_to_work_from(path: str) -> None:
    context = HELPS[path]
    text = context.command.get_help(context)
    assert text.startswith(f"Usage: {path}")
    assert context.command.help
    assert not [line for line in text.splitlines() if line.endswith("...") and "Usage" not in line]
    for parameter in context.command.get_params(context):
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path} does not explain {parameter.opts}"


@pytest.mark.parametrize("path", GROUPS)
def test_groups_show_whole_sentences(path: str) -> None:
    context = HELPS[path]
    text = " ".join(context.command.get_help(context).split())
    for child in HELPS.values():
        if child.parent is not None and child.parent.command_path == path:
            first = (child.command.short_help or child.command.help or "").split(". ")[0]
            sentence = " ".join(first.split("\n\n")[0].split()).removesuffix(".")
            assert f"{child.info_name} {sentence}" in text


@pytest.mark.parametrize("path", HELPS)
def test_own_options_come_first(path: str) -> None:
    context = HELPS[path]
    text = context.command.get_help(context)
    begin = text.index("\nOptions:")
    places = {
        each: text.index(f" {each.opts[-1]} ", begin)  # the last of its names
        for each in context.command.get_params(context)
        if isinstance(each, click.Option) and "--help" not in each.opts
    }
    shared = [place for each, place in places.items() if isinstance(each, OptionUnder)]
    own = [place for each, place in places.items() if not isinstance(each, OptionUnder)]
    assert max(own, default=0) < min(shared, default=len(text))
    if path.startswith(("plugind store ", "plugind reload", "plugind agent")):
        assert text.index("--config PATH") < text.index(SETTINGS) < text.index("--data-dir PATH")


def test_the_version_may_be_an_option() -> None:
    done = plugind("--version")
    assert (done.returncode, done.stdout) == (0, plugind("version").stdout)
    assert done.stdout.startswith(f"plugind {__version__} ")


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (("plugn",), "did you mean 'plugin'?"),
        (("plugin", "statu"), "did you mean 'status'?"),
        (("plugin", "stats", "ebs0"), "did you mean 'status'?"),
        (("forget",), "did you mean 'node forget' or 'plugin forget'?"),
        (("acl", "tokn"), "did you mean 'token'?"),
        (("type", "chek"), "did you mean 'check'?"),
        (("csi-tel",), "did you mean 'csi-tell'"),
        (("xyzzy",), "No such command 'xyzzy'\n"),
    ],
)
def test_near_commands_are_suggested(words: tuple[str, ...], suggestion: str) -> None:
    done = plugind(*words)
    assert done.returncode == 2
    assert suggestion in done.stderr
    assert "Traceback" not in done.stderr


def test_a_near_plugin_type_is_suggested_to_authors() -> None:
    done = plugind("type", "check", "exce")
    assert (done.returncode, done.stderr) == (
        1,
        "Error: no plugin type 'exce' is installed; did you mean \"exec\"?\n",
    )
