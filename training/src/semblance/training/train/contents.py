"""What a run's paths hold, by digest: when it is resumed, a path may hold something else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from semblance.training.train.crops import Crop

LISTS = ("manifest.json", "pairs.jsonl")
"""What names a folder's contents by their own digests: the photos of a dataset or of feedback, an export's model."""


def digest(path: Path) -> str | None:
    """SHA-256 of a file, or of the list in a folder; None where there is neither, as for official weights."""
    listed = next((path / name for name in LISTS if (path / name).is_file()), path)
    if not listed.is_file():
        return None
    with listed.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_references(references: Sequence[Crop]) -> str:
    """SHA-256 of the items of a catalogue with the names and sizes of their images.

    Reading all images of a large catalogue would take longer than many a training, of which most take no part in it.
    """
    named = hashlib.sha256()
    for crop in references:
        size = crop.path.stat().st_size if crop.path.exists() else 0
        named.update(f"{crop.item_id}\0{crop.path.name}\0{size}\n".encode())
    return named.hexdigest()
