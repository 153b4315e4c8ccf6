"""Writes the reference pages of the documentation from the code that they are about.

    python -m docs.generate --write|--check docs/reference

writes them, or compares the committed ones with a fresh rendering.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path

import click

from docs.generate import api, commands, settings


def rendered() -> Mapping[str, str]:
    """The text of each page by its name."""
    return {"settings.md": settings.page(), "commands.md": commands.page(), "api.md": api.page()}


def differences(folder: Path) -> list[str]:
    """What the pages in `folder` say other than a fresh rendering: a unified diff's lines."""
    lines: list[str] = []
    for name, fresh in rendered().items():
        path = folder / name
        committed = path.read_text(encoding="utf-8") if path.exists() else ""
        lines += difflib.unified_diff(
            committed.splitlines(), fresh.splitlines(), str(path), "a fresh rendering", lineterm=""
        )
    return lines


@click.command()
@click.option("--check/--write", required=True, help="Fail where a page is not what the code says, or write all.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path, check: bool) -> None:
    """Write or check the reference pages in FOLDER."""
    if not check:
        for name, text in rendered().items():
            (folder / name).write_text(text, encoding="utf-8")
    elif lines := differences(folder):
        raise click.ClickException("\n".join([*lines, "Write them anew: `make references`."]))


if __name__ == "__main__":
    main()
