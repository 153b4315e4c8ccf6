"""What an evaluation was made with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

PACKAGES = ("numpy", "opencv-python-headless", "pymilvus", "scipy", "semblance-client", "semblance-training")


def environment() -> dict[str, object]:
    """The host, the versions of what computes the figures, and the commit where this is a clone (with + where files
    differ from it)."""
    return {
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "cores": len(os.sched_getaffinity(0)),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(Path(__file__).parent), *arguments], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "--short=12", "HEAD")
    changed = commit and git("status", "--porcelain", "--untracked-files=no")
    return f"{commit}{'+' if changed else ''}" or "unknown"
