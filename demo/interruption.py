"""Ctrl-C ends a program of the demo in order, and without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

INTERRUPTED = 130
"""The exit status of a program that Ctrl-C ended, as shells have it."""


@contextmanager
def interruptible() -> Iterator[None]:
    """What runs in it stops what it has started, as for every exception."""
    try:
        yield
    except KeyboardInterrupt:
        Console(stderr=True).print("stopped, with all that it had started")
        sys.exit(INTERRUPTED)
