"""The demo's drawn catalogue and scenes, which every scenario searches in and with."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from PIL import Image

from semblance.benchmarks.host import ROOT
from semblance.client import NewItem

# The photos of all figures have this size, so that one bare decode stands beside each request.
SIZE = (640, 480)
SEED = 7


@dataclass(frozen=True, slots=True)
class World:
    """`catalogue` are items to search for, `photos` the bytes of JPEG files of `SIZE` that show some of them."""

    catalogue: tuple[NewItem, ...]
    photos: tuple[bytes, ...]
    files: tuple[Path, ...]

    @classmethod
    def drawn(cls, folder: Path, items: int, scenes: int) -> Self:
        """Draws it into `folder` unless it is there; the same numbers give the same bytes. Needs the checkout."""
        home = folder / f"{items}-items-{scenes}-scenes"
        if not home.exists():
            aside = folder / f".{home.name}"
            shutil.rmtree(aside, ignore_errors=True)
            amounts = ["--items", str(items), "--scenes", str(scenes), "--seed", str(SEED)]
            subprocess.run(
                [sys.executable, "-m", "demo.generate", "--out", aside, *amounts],
                cwd=ROOT,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            aside.rename(home)
        with (home / "manifest.csv").open(newline="") as manifest:
            images: dict[str, list[str | Path]] = {}
            for row in csv.DictReader(manifest):
                images.setdefault(row["item_id"], []).append(home / row["image"])
        truth = json.loads((home / "truth.json").read_text())
        files = tuple(path for entry in truth["scenes"] if _size(path := home / entry["image"]) == SIZE)
        return cls(
            tuple(NewItem(item_id, paths) for item_id, paths in images.items()),
            tuple(path.read_bytes() for path in files),
            files,
        )


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def numbered(photo: bytes, number: int) -> bytes:
    """The same JPEG picture in other bytes, so that the catalogue has not seen it: with a comment after its start."""
    text = f"{number:012d}".encode()
    # A COM segment (ITU-T T.81, B.2.4.5): marker, length with its own two bytes, text.
    return photo[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2) + text + photo[2:]
