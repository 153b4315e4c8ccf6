"""Files and folders that are made when they are first needed."""

import os
from pathlib import Path


def can_be_made(path: Path) -> bool:
    """Whether this user could make what is not there, with the folders around it."""
    nearest = next(each for each in path.absolute().parents if each.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
