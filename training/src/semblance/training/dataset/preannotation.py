"""Label Studio tasks whose pre-annotations are what the service found.

Format: https://labelstud.io/guide/predictions
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from semblance.client import ObjectHits, SearchResult, Source
from semblance.training.dataset.dataset import DatasetError
from semblance.training.dataset.label_studio import IMAGE_KEY, ITEM
from semblance.training.dataset.labelling import IMAGE, LABEL
from semblance.training.dataset.photo import SUFFIXES

DIGEST_KEY = "sha256"
"""Key of a task's data by which it is known again."""


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """A photo to be annotated. `name` is its path below the folder that was given, with slashes."""

    path: Path
    name: str
    sha256: str

    def address(self, prefix: str) -> str:
        """Where Label Studio finds it, below an address."""
        return prefix + quote(self.name)


def gather(paths: Iterable[Path]) -> list[Unlabelled]:
    """The photos that are named or lie below folders, hidden ones aside; each content once, in order.

    Raises:
        DatasetError: There are none.
    """
    found: dict[str, Unlabelled] = {}
    for path, name in (pair for given in paths for pair in _files(given)):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found.setdefault(digest, Unlabelled(path, name, digest))
    if not found:
        raise DatasetError(f"no photo ({', '.join(sorted(SUFFIXES))}) in {', '.join(map(str, paths))}")
    return list(found.values())


def _files(given: Path) -> Iterator[tuple[Path, str]]:
    if given.is_file():
        yield given, given.name
        return
    for path in sorted(given.rglob("*")):
        name = path.relative_to(given)
        if path.suffix.lower() in SUFFIXES and path.is_file() and not any(part.startswith(".") for part in name.parts):
            yield path, name.as_posix()


def task(photo: Unlabelled, address: str, result: SearchResult, *, suggest_items: bool) -> dict[str, Any]:
    """A task as Label Studio imports it; where nothing was detected it has no prediction.

    Args:
        address: where Label Studio finds the photo.
        suggest_items: whether each region has the id of the most similar item as its text `item`.
    """
    made: dict[str, Any] = {"data": {IMAGE_KEY: address, DIGEST_KEY: photo.sha256}}
    detected = [found for found in result.objects if found.source is Source.DETECTED]
    if detected:
        regions = [
            region
            for number, found in enumerate(detected)
            for region in _regions(f"{photo.sha256[:10]}-{number}", found, result, suggest_items)
        ]
        scores = [found.score or 0.0 for found in detected]
        prediction = {"model_version": result.release, "score": round(sum(scores) / len(scores), 4), "result": regions}
        made["predictions"] = [prediction]
    return made


def classes(results: Iterable[SearchResult]) -> Sequence[str]:
    """All that were detected, sorted."""
    return sorted({found.class_name for result in results for found in result.objects if found.class_name is not None})


def _regions(region: str, found: ObjectHits, result: SearchResult, suggest_items: bool) -> Iterator[dict[str, Any]]:
    width, height = result.image_width, result.image_height
    place = {
        "x": _percent(found.box.x1, width),
        "y": _percent(found.box.y1, height),
        "width": _percent(found.box.x2 - found.box.x1, width),
        "height": _percent(found.box.y2 - found.box.y1, height),
        "rotation": 0,
    }
    shared = {
        "id": region,
        "to_name": IMAGE,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": round(found.score or 0.0, 4),
    }
    value = place | {"rectanglelabels": [found.class_name]}
    yield shared | {"type": "rectanglelabels", "from_name": LABEL, "value": value}
    if suggest_items and found.hits:
        value = place | {"text": [found.hits[0].item_id]}
        yield shared | {"type": "textarea", "from_name": ITEM, "value": value}


def _percent(pixels: float, whole: int) -> float:
    return round(100 * pixels / whole, 4)
