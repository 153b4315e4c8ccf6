"""Train the demo's detector from nothing: `python -m demo.training.detector --work DIR --out detector.pt`.

The detector is served on 640 × 640 letterboxes. Most of its training happens on windows of a quarter of that
area, in which objects have as many pixels as they have in a letterbox: a convolutional network does not mind,
and it is four times cheaper. The last stages take half the area, which holds an item as large as one in a product
photo, and the very last one adds pictures in which there is nothing to find.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("YOLO_OFFLINE", "true")

import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from ultralytics.models import YOLO

from demo.catalogue import photograph
from demo.drawing.light import ROOM, STUDIO, Light, compressed, expose
from demo.drawing.placement import Box
from demo.drawing.vista import vista
from demo.generate import PIXELS
from demo.items import KINDS, Item
from demo.scenes import SIDES, Object, compose

SERVED = 640
"""Pixels along the letterbox that the detector is served with."""

COLLECTION = 1_000_003
"""Seeds the items to train on; the demo's catalogue comes from other seeds."""

POOL = 900
"""Different items to train on."""

SHARES = (0.06, 0.47, 0.47)
"""How often scenes hold none, one and two items."""

BATCH = 16

VALIDATED = 16
"""Images that Ultralytics itself validates on."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the training; `empty` pictures have nothing in them."""

    side: int
    scenes: int
    photos: int
    photo_side: int
    empty: int
    epochs: int
    rate: float
    warmup: float


STAGES = (
    Stage(side=320, scenes=1500, photos=180, photo_side=448, empty=0, epochs=7, rate=2e-3, warmup=1.0),
    Stage(side=320, scenes=1500, photos=300, photo_side=448, empty=0, epochs=5, rate=1e-3, warmup=0.3),
    Stage(side=448, scenes=240, photos=240, photo_side=640, empty=0, epochs=2, rate=3e-4, warmup=0.2),
    Stage(side=448, scenes=400, photos=120, photo_side=640, empty=0, epochs=3, rate=4e-4, warmup=0.2),
    Stage(side=448, scenes=600, photos=160, photo_side=640, empty=800, epochs=4, rate=5e-4, warmup=0.2),
    Stage(side=448, scenes=400, photos=80, photo_side=640, empty=800, epochs=2, rate=3e-4, warmup=0.2),
)


class Shelf:
    """Items to be picked from, drawn when first needed."""

    def __init__(self, count: int) -> None:
        self._items = [Item(KINDS[number % len(KINDS)], COLLECTION, number) for number in range(count)]
        self._sprites: dict[Item, NDArray[np.uint8]] = {}

    def pick(self, rng: np.random.Generator, count: int) -> list[tuple[Item, NDArray[np.uint8]]]:
        """`count` items with their sprites."""
        picked = [self._items[i] for i in rng.integers(len(self._items), size=count)]
        for item in picked:
            if item not in self._sprites:
                self._sprites[item] = item.draw(PIXELS)
        return [(item, self._sprites[item]) for item in picked]


def render(folder: Path, stage: Stage, shelf: Shelf, seed: int) -> Path:
    """Write the images and labels of a stage; returns the data file that Ultralytics reads."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([COLLECTION, stage.side, seed])
    sides = SIDES[0] * SERVED, SIDES[1] * SERVED
    with click.progressbar(range(stage.scenes), label="rendering scenes") as bar:
        for number in bar:
            chosen = shelf.pick(rng, int(rng.choice(len(SHARES), p=SHARES)))
            scene = compose(rng, chosen, (stage.side, stage.side), sides)
            _save(folder, f"scene-{number:05d}", scene.picture, scene.objects, ROOM, rng)
    with click.progressbar(range(stage.photos), label="rendering photos") as bar:
        for number in bar:
            (item, sprite) = shelf.pick(rng, 1)[0]
            picture, box = photograph(rng, sprite, stage.photo_side)
            start = (stage.photo_side - stage.side) // 2
            picture = picture[start : start + stage.side, start : start + stage.side]
            x1, y1, x2, y2 = (float(np.clip(v - start, 0, stage.side)) for v in box)
            objects = (Object("", item.kind, (x1, y1, x2, y2)),)
            _save(folder, f"photo-{number:05d}", picture, objects, STUDIO, rng)
    for number in range(stage.empty):
        picture = expose(rng, vista(rng, stage.side, stage.side), ROOM, scale=1.0)
        _save(folder, f"empty-{number:05d}", picture, (), ROOM, rng)
    data = folder / "data.yaml"
    names = dict(enumerate(KINDS))
    # Ultralytics validates once at the end, whatever it is told; `demo.evaluate` measures, on unseen scenes.
    few = sorted(str(path) for path in (folder / "images").iterdir())[:VALIDATED]
    (folder / "validated.txt").write_text("\n".join(few))
    data.write_text(json.dumps({"path": str(folder), "train": "images", "val": "validated.txt", "names": names}))
    return data


def train(weights: str, data: Path, stage: Stage, folder: Path) -> Path:
    """Run one stage; returns the checkpoint, stripped of the optimiser."""
    model = YOLO(weights)
    model.train(
        data=str(data),
        imgsz=stage.side,
        epochs=stage.epochs,
        batch=BATCH,
        optimizer="AdamW",
        lr0=stage.rate,
        cos_lr=True,
        warmup_epochs=stage.warmup,
        warmup_bias_lr=0.0,
        nbs=BATCH,
        mosaic=0.0,
        scale=0.15,
        degrees=0.0,
        amp=False,
        val=False,
        plots=False,
        workers=0,
        cache="ram",
        device="cpu",
        seed=0,
        project=str(folder.parent),
        name=folder.name,
        exist_ok=True,
    )
    return folder / "weights" / "last.pt"


@click.command()
@click.option(
    "--work", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for scratch data."
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Checkpoint to write.")
@click.option("--weights", default="yolov8n.yaml", show_default=True, help="Where to start: a model or a checkpoint.")
@click.option("--first-stage", default=1, show_default=True, help="Leave out the stages before this one.")
@click.option("--threads", default=2, show_default=True, help="Threads of torch.")
@click.option("--seed", default=0, show_default=True, help="Seeds the scenes that are rendered.")
def main(work: Path, out: Path, weights: str, first_stage: int, threads: int, seed: int) -> None:
    """Render training data and train in stages, from windows to whole letterboxes."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    shelf = Shelf(POOL)
    for number, stage in list(enumerate(STAGES, 1))[first_stage - 1 :]:
        click.echo(f"stage at {stage.side} pixels: {stage.scenes} scenes, {stage.photos} photos")
        data = render(work / f"data-{number}", stage, shelf, seed + number)
        weights = str(train(weights, data, stage, work / f"stage-{number}"))
        out.write_bytes(Path(weights).read_bytes())
        click.echo(f"wrote {out}")


def _save(
    folder: Path,
    name: str,
    picture: NDArray[np.uint8],
    objects: tuple[Object, ...],
    light: Light,
    rng: np.random.Generator,
) -> None:
    """Write an image and its labels: class, then the box's middle and size as shares of the image."""
    height, width = picture.shape[:2]
    (folder / "images" / f"{name}.jpg").write_bytes(compressed(rng, picture, light))
    lines = [f"{KINDS.index(o.kind)} {_relative(o.box, width, height)}" for o in objects]
    (folder / "labels" / f"{name}.txt").write_text("\n".join(lines))


def _relative(box: Box, width: int, height: int) -> str:
    x1, y1, x2, y2 = box
    shares = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
    return " ".join(f"{share:.6f}" for share in shares)


if __name__ == "__main__":
    main()
