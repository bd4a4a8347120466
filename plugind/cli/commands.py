"""The classes of plugind's commands and command groups: help, and suggestions of names."""

from __future__ import annotations

from collections.abc import Iterator

import click

from plugind.hints import did_you_mean


class Command(click.Command):
    """A command whose help shows its own options first, then shared options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                heading = parameter.heading if isinstance(parameter, OptionUnder) else "Options"
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class OptionUnder(click.Option):
    """An option that several commands share; its help is shown under ``heading``."""

    heading = "Options"


class Setting(OptionUnder):
    """An option for a setting of the configuration."""

    heading = "Settings, which override configuration files and variables (PLUGIND_DATA_DIR, ...)"


class Connection(OptionUnder):
    """An option for the connection to the server."""

    heading = "Connection"


class Group(click.Group):
    """A group whose help never cuts a sentence, and that suggests names for an unknown one."""

    command_class = Command
    group_class = type

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command's name and the complete first sentence of its help."""
        found = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        rows = [
            (name, command.get_short_help_str(limit=1_000))
            for name, command in found.items()
            if command is not None and not command.hidden
        ]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command to run. Raise UsageError with similar names for an unknown one."""
        name = args[0]
        is_option = name.startswith("-")
        if not (is_option or ctx.resilient_parsing) and self.get_command(ctx, name) is None:
            ctx.fail(f"No such command {name!r}{did_you_mean(name, self._names(ctx, name))}")
        return super().resolve_command(ctx, args)

    def _names(self, ctx: click.Context, wanted: str) -> Iterator[str]:
        """Return the names of this group's commands, and "GROUP ``wanted``" for each subgroup that
        has a command ``wanted``.
        """
        for name in self.list_commands(ctx):
            yield name
            inner = self.get_command(ctx, name)
            if isinstance(inner, click.Group) and wanted in inner.list_commands(ctx):
                yield f"{name} {wanted}"


def examples(*lines: str) -> str:
    """Return an epilog for a command's help that shows command lines as examples."""
    return "\n".join(
        ["\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {x}" for x in lines)]
    )
