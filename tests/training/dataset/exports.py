"""Photos and exports for these tests, small and different from each other."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result
from PIL import Image

from semblance.training.dataset.command import dataset
from semblance.training.dataset.dataset import Dataset

WIDTH, HEIGHT = 160, 120


def picture(seed: int, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Blotches that no other seed has."""
    blotches = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    return Image.fromarray(blotches).resize((width, height), Image.Resampling.BICUBIC)


def photo(path: Path, seed: int, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path, **options)
    return path


def rectangle(region: str = "r1", label: str | list[str] = "mug", **value: Any) -> dict[str, Any]:
    """A result; 10 % to 30 % across and 20 % to 60 % down, unless told otherwise."""
    place = {"x": 10, "y": 20, "width": 20, "height": 40, "rotation": 0} | value
    labels = [label] if isinstance(label, str) else label
    return {
        "id": region,
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": place | {"rectanglelabels": labels},
    }


def text(region: str, *texts: str, name: str = "item") -> dict[str, Any]:
    return {"id": region, "type": "textarea", "from_name": name, "to_name": "image", "value": {"text": list(texts)}}


def annotation(*results: Any, **fields: Any) -> dict[str, Any]:
    return {"id": 1, "was_cancelled": False, "ground_truth": False, "result": list(results)} | fields


def task(number: int, image: str, *annotations: Any, **data: Any) -> dict[str, Any]:
    return {"id": number, "data": {"image": image} | data, "annotations": list(annotations), "predictions": []}


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def run_import(source: Path, output: Path, *options: object) -> Result:
    arguments = ["import", source, "--output", output, *options]
    return CliRunner().invoke(dataset, [str(argument) for argument in arguments])


def imported(source: Path, output: Path, *options: object) -> Dataset:
    result = run_import(source, output, *options)
    assert result.exit_code == 0, result.output
    return Dataset.read(output)


def refused(source: Path, output: Path, *options: object) -> str:
    """What an import says that refuses, having left nothing behind."""
    before = listing(output.parent)
    result = run_import(source, output, *options)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), "a traceback, where a line was due"
    assert listing(output.parent) == before
    return " ".join(result.output.split())


def listing(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def tasks_of(folder: Path, seeds: Iterable[int]) -> list[dict[str, Any]]:
    """Tasks with a mug each, an item each, and their photos in a folder."""
    return [
        task(seed, photo(folder / f"{seed}.jpg", seed).name, annotation(rectangle()), item_id=f"mug-{seed}")
        for seed in seeds
    ]
