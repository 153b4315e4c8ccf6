"""The `semblance` command's way in."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Runs the command, or says what to install where the library is installed without it."""
    if not all(map(find_spec, ("click", "rich", "PIL"))):
        sys.exit("semblance: the command is not installed, only the library: pip install 'semblance-client[cli]'")
    from semblance.client.commands.group import semblance

    semblance(prog_name="semblance")
