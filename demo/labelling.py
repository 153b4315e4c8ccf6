"""The truth about scenes as Label Studio would export it, had somebody drawn every box and named every item."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from demo.scenes import Object, Truth, read_truth
from demo.stack import semblance

EXPORT = "label-studio.json"


def regions(task: int, found: Sequence[Object], width: int, height: int) -> Iterator[dict[str, Any]]:
    """Label Studio's results: of each object a rectangle in percent of the image, and its item in a text beside it."""
    for number, thing in enumerate(found):
        x1, y1, x2, y2 = thing.box
        place = {
            "x": 100 * x1 / width,
            "y": 100 * y1 / height,
            "width": 100 * (x2 - x1) / width,
            "height": 100 * (y2 - y1) / height,
            "rotation": 0,
        }
        shared = {
            "id": f"{task}-{number}",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
        }
        label = {"from_name": "label", "type": "rectanglelabels", "value": {**place, "rectanglelabels": [thing.kind]}}
        item = {"from_name": "item", "type": "textarea", "value": {**place, "text": [thing.item_id]}}
        yield shared | label
        yield shared | item


def write(path: Path, scenes: Sequence[Truth]) -> None:
    """Writes the scenes' annotations as Label Studio's JSON export, their images named as uploads are."""
    tasks = []
    for number, scene in enumerate(scenes, 1):
        with Image.open(scene.path) as picture:
            width, height = picture.size
        tasks.append(
            {
                "id": number,
                "data": {"image": f"/data/upload/1/{number:08x}-{scene.path.name}"},
                "annotations": [
                    {"id": number, "was_cancelled": False, "result": [*regions(number, scene.objects, width, height)]}
                ],
            }
        )
    path.write_text(json.dumps(tasks, indent=1) + "\n")


def annotate(folder: Path) -> None:
    """Has the scenes that were written into `folder` annotated: an export beside them."""
    write(folder / EXPORT, read_truth(folder))


def imported(folder: Path, dataset: Path, split: str) -> None:
    """Makes a dataset of annotated scenes, as a user would. Every item is in the catalogue and may be in any scene, so
    the scenes are split, and not the items."""
    semblance(
        *("dataset", "import", folder / EXPORT, "--images", folder / "scenes", "--split", split),
        *("--split-by", "image", "--output", dataset),
    )
