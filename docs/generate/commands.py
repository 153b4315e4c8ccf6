"""The page of the `semblance` command: the help of all that installed distributions add to it."""

from collections.abc import Iterator

import click

from semblance.client.commands.group import semblance

WIDTH = 80
"""Columns, whatever the terminal has."""

HEAD = """\
# Commands

<!-- Generated: change the commands, and `make references`. -->

What `semblance COMMAND --help` says. Each distribution adds its own to the one command: a caller who installs the
client has the client's, and [environments](../quickstart.md#environments) says where the others are.

"""


def page() -> str:
    """The page's Markdown: a heading and the help of each command, groups before what is in them."""
    root = click.Context(semblance, info_name="semblance", terminal_width=WIDTH)
    return HEAD + "\n".join(_of_group(semblance, root))


def _of_group(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context, terminal_width=WIDTH)
        level = "#" * len(inner.command_path.split())
        yield f"{level} `{inner.command_path}`\n\n```text\n{command.get_help(inner)}\n```\n"
        if isinstance(command, click.Group):
            yield from _of_group(command, inner)
