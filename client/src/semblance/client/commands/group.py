"""The group of all `semblance` commands: whatever installed distributions add through entry points."""

from __future__ import annotations

import ast
import textwrap
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from semblance.client._errors import SemblanceError

INTERRUPTED = 130
"""The exit status after Ctrl-C: 128 and the number of SIGINT, as shells have it."""


class EntryPointGroup(click.Group):
    """Its commands are entry points, imported when they run: `search` does not wait for what `export` imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._entry_points())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._entry_points().get(cmd_name)
        if entry is None:
            return None
        try:
            command = entry.load()
        except ModuleNotFoundError as error:
            distribution = f" of {entry.dist.name}" if entry.dist else ""
            raise click.ClickException(
                f"`semblance {cmd_name}`{distribution} needs {error.name}, which is not installed here"
            ) from error
        if not isinstance(command, click.Command):
            raise click.ClickException(f"{entry.value} is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        entries = self._entry_points()
        room = formatter.width - 6 - max(map(len, entries), default=0)
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary(entry, room)) for name, entry in sorted(entries.items())])

    def invoke(self, ctx: click.Context) -> Any:
        """The one place that turns errors of the client into a line on stderr and an exit status."""
        try:
            return super().invoke(ctx)
        except SemblanceError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)

    def _entry_points(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group="semblance.commands")}


@click.command(cls=EntryPointGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="semblance-client", prog_name="semblance")
def semblance() -> None:
    """Finds the products in a photo."""


def summary(entry: EntryPoint, room: int) -> str:
    """The first sentence of a command's docstring, read from its source: importing it may take seconds."""
    try:
        spec = find_spec(entry.module)
    except ModuleNotFoundError:
        return ""
    if spec is None or spec.origin is None:
        return ""
    for node in ast.parse(Path(spec.origin).read_bytes()).body:
        if isinstance(node, ast.FunctionDef) and node.name == entry.attr:
            sentence = (ast.get_docstring(node) or "").partition(".")[0]
            return textwrap.shorten(sentence, room, placeholder="...")
    return ""
