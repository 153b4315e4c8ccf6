"""The catalogue: items with attributes, and one or two product photos of each."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demo.drawing.light import STUDIO, compressed, expose
from demo.drawing.placement import Box, Pose, lay, place
from demo.items import Item

SIDE = 512
"""Pixels along a product photo's side."""

SERIES = ("Origins", "Midnight", "Carnival", "Tidewater", "Evergreen", "Clockwork")


@dataclass(frozen=True, slots=True)
class Attributes:
    """What the catalogue says of an item beside its pictures."""

    kind: str
    colour: str
    series: str
    price: float
    year: int
    limited: bool

    @classmethod
    def of(cls, item: Item) -> Attributes:
        """The attributes of an item, always the same."""
        rng = np.random.default_rng([item.collection, item.number, len(item.kind)])
        limited = bool(rng.random() < 0.2)
        price = round(float(rng.uniform(2, 40)) * (3 if limited else 1), 2)
        year = int(rng.integers(2012, 2026))
        return cls(item.kind, item.design.colour, str(rng.choice(SERIES)), price, year, limited)


def photograph(rng: np.random.Generator, sprite: NDArray[np.uint8], side: int = SIDE) -> tuple[NDArray[np.uint8], Box]:
    """An item (RGBA) in a studio, `side` pixels square, and its box."""
    tone = 238 + rng.normal(0, 5, 3) - (rng.uniform(0, 70, 3) if rng.random() < 0.5 else 0)
    wall, floor = tone, tone * rng.uniform(0.84, 0.95)
    ramp = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
    scene = np.broadcast_to(wall + (floor - wall) * ramp, (side, side, 3)).astype(np.float32)
    share = rng.uniform(0.52, 0.66)
    x, y = side * rng.uniform(0.47, 0.53, 2)
    placed = place(sprite, Pose(x, y, share * side, rng.uniform(-4, 4)), side, side)
    if placed is None:
        raise ValueError("the item is not in its photo")
    lay(scene, placed, (side * rng.uniform(-0.015, 0.015), side * 0.02), 0.4)
    _vignette(scene)
    return expose(rng, scene, STUDIO), placed.box


def write(folder: Path, items: Sequence[Item], sprites: Sequence[NDArray[np.uint8]], seed: int) -> list[Box]:
    """Write `images/*.jpg` and `manifest.csv` into `folder`; returns the item's box in each image, row by row."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    names = [field.name for field in fields(Attributes)]
    rng = np.random.default_rng([seed, 1])
    boxes = []
    with (folder / "manifest.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["item_id", "image", *names])
        table.writeheader()
        for item, sprite in zip(items, sprites, strict=True):
            for shot in range(1 + int(rng.random() < 0.4)):
                name = f"{item.item_id}-{shot + 1}.jpg"
                picture, box = photograph(rng, sprite)
                (images / name).write_bytes(compressed(rng, picture, STUDIO))
                table.writerow({"item_id": item.item_id, "image": f"images/{name}", **asdict(Attributes.of(item))})
                boxes.append(box)
    return boxes


def _vignette(scene: NDArray[np.float32]) -> None:
    """Darken the corners a little."""
    y, x = np.ogrid[-1 : 1 : complex(scene.shape[0]), -1 : 1 : complex(scene.shape[1])]
    scene *= (1 - 0.07 * (x * x + y * y)).astype(np.float32)[..., None]
