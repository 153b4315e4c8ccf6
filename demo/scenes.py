"""Cluttered scenes with catalogue items in them, and the truth about what lies where."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demo.drawing.clutter import thing
from demo.drawing.light import ROOM, compressed, expose
from demo.drawing.placement import Box, Placed, Pose, lay, place
from demo.drawing.texture import surface
from demo.items import Item

SIZES = ((640, 480), (800, 600), (960, 720), (1280, 960))
"""Widths and heights of scenes, pixels."""

SIDES = (0.16, 0.36)
"""The longer side of an item, as a share of the scene's width."""

VISIBLE = 0.75
"""At least so much of every item is to be seen."""

TRIES = 25


@dataclass(frozen=True, slots=True)
class Object:
    """One item in a scene."""

    item_id: str
    kind: str
    box: Box


@dataclass(frozen=True)
class Scene:
    """A scene and what is in it."""

    picture: NDArray[np.uint8]
    """uint8 [H,W,3], RGB."""
    objects: tuple[Object, ...]


class Table:
    """A surface on which things are put one after another, none of them hiding too much of an item."""

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self._rng = rng
        self.picture = surface(rng, height, width).astype(np.float32)
        self._top = np.full((height, width), -1, np.int16)
        self._areas: list[int] = []
        angle = rng.uniform(0, 2 * np.pi)
        self._sun = np.cos(angle), np.sin(angle)

    def put(self, sprite: NDArray[np.uint8], sides: tuple[float, float], tilt: float, turn: float) -> Placed | None:
        """Put a sprite somewhere, its longer side within `sides` pixels; None where no room was found."""
        height, width = self._top.shape
        for _ in range(TRIES):
            side = self._rng.uniform(*sides)
            margin = min(0.5 * side, 0.5 * height)
            x, y = self._rng.uniform(margin, width - margin), self._rng.uniform(margin, height - margin)
            tilts = self._rng.uniform(-tilt, tilt, 2)
            pose = Pose(x, y, side, self._rng.uniform(-turn, turn), (float(tilts[0]), float(tilts[1])))
            placed = place(sprite, pose, height, width)
            if placed is not None and self._leaves_enough(placed):
                reach = side * self._rng.uniform(0.02, 0.06)
                lay(
                    self.picture,
                    placed,
                    (reach * self._sun[0], reach * self._sun[1]),
                    self._rng.uniform(0.15, 0.5),
                )
                return placed
        return None

    def claim(self, placed: Placed) -> None:
        """Remember what was put as an item, to be kept visible."""
        solid = placed.alpha > 0.5
        self._top[placed.window][solid] = len(self._areas)
        self._areas.append(int(solid.sum()))

    def cover(self, placed: Placed) -> None:
        """Remember what was put as something that may hide items, but is none."""
        self._top[placed.window][placed.alpha > 0.5] = -1

    def _leaves_enough(self, placed: Placed) -> bool:
        hidden = self._top[placed.window][placed.alpha > 0.5]
        if not (hidden >= 0).any():
            return True
        left = np.bincount(self._top[self._top >= 0], minlength=len(self._areas))
        left -= np.bincount(hidden[hidden >= 0], minlength=len(self._areas))
        return bool((left >= VISIBLE * np.array(self._areas)).all())


def compose(
    rng: np.random.Generator,
    chosen: Sequence[tuple[Item, NDArray[np.uint8]]],
    size: tuple[int, int],
    sides: tuple[float, float],
) -> Scene:
    """A scene of `size` (width, height) with the chosen items, their longer sides within `sides` pixels."""
    width, height = size
    table = Table(rng, height, width)
    unit = sides[1]
    busy = max(1, round(width * height / unit**2 / 2))
    for _ in range(int(rng.integers(0, busy + 3))):
        table.put(thing(rng, 160), (0.25 * unit, 0.9 * unit), 0.1, 180)
    objects = []
    for item, sprite in chosen:
        placed = table.put(sprite, sides, 0.12, 40)
        if placed is not None:
            table.claim(placed)
            objects.append(Object(item.item_id, item.kind, placed.box))
    for _ in range(int(rng.integers(0, busy + 1))):
        above = table.put(thing(rng, 120), (0.12 * unit, 0.4 * unit), 0.1, 180)
        if above is not None:
            table.cover(above)
    scale = sides[1] / (SIDES[1] * 640)
    return Scene(expose(rng, table.picture, ROOM, scale), tuple(objects))


def arrange(rng: np.random.Generator, items: Sequence[Item], sprites: Sequence[NDArray[np.uint8]]) -> Scene:
    """A scene of 2 to 5 of the items, of one of the usual sizes."""
    width, height = SIZES[rng.integers(len(SIZES))]
    picks = rng.permutation(len(items))[: rng.integers(2, 6)]
    return compose(rng, [(items[i], sprites[i]) for i in picks], (width, height), (SIDES[0] * width, SIDES[1] * width))


def write(folder: Path, items: Sequence[Item], sprites: Sequence[NDArray[np.uint8]], count: int, seed: int) -> None:
    """Write `count` scenes into `folder`/scenes and the truth about them into `folder`/truth.json."""
    pictures = folder / "scenes"
    pictures.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, 2])
    truth = []
    for number in range(count):
        scene = arrange(rng, items, sprites)
        name = f"scenes/scene-{number:03d}.jpg"
        (folder / name).write_bytes(compressed(rng, scene.picture, ROOM))
        truth.append({"image": name, "objects": [asdict(found) for found in scene.objects]})
    (folder / "truth.json").write_text(json.dumps({"scenes": truth}, indent=1) + "\n")


@dataclass(frozen=True, slots=True)
class Truth:
    """What a written scene shows."""

    path: Path
    objects: tuple[Object, ...]


def read_truth(folder: Path) -> list[Truth]:
    """The scenes that `write` wrote into a folder."""
    return [
        Truth(
            folder / entry["image"],
            tuple(Object(o["item_id"], o["kind"], tuple(o["box"])) for o in entry["objects"]),
        )
        for entry in json.loads((folder / "truth.json").read_text())["scenes"]
    ]
