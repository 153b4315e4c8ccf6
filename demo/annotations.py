"""The scenes' truth as a dataset folder for `semblance evaluate`: `python -m demo.annotations WORLD DATASET`."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import click
from PIL import Image

from demo.items import KINDS
from demo.scenes import Truth, read_truth
from semblance.training.dataset.dataset import MANIFEST, AnnotatedImage, AnnotatedObject, Manifest


def write_dataset(scenes: Sequence[Truth], folder: Path) -> None:
    """Copies the scenes into `folder`/images/test, and writes the manifest that says what they show."""
    photos = folder / "images" / "test"
    photos.mkdir(parents=True, exist_ok=True)
    images = [_annotated(scene, Path(shutil.copy(scene.path, photos)), folder) for scene in scenes]
    manifest = Manifest(classes=KINDS, source={"drawn by": "demo.generate"}, images=tuple(images))
    (folder / MANIFEST).write_text(manifest.model_dump_json(by_alias=True, indent=1) + "\n")


def _annotated(scene: Truth, photo: Path, folder: Path) -> AnnotatedImage:
    with Image.open(photo) as image:
        width, height = image.size
    return AnnotatedImage(
        file=photo.relative_to(folder).as_posix(),
        split="test",
        sha256=hashlib.sha256(photo.read_bytes()).hexdigest(),
        width=width,
        height=height,
        source=scene.path.name,
        objects=tuple(
            AnnotatedObject.model_validate({"class": each.kind, "box": each.box, "item_id": each.item_id})
            for each in scene.objects
        ),
    )


@click.command()
@click.argument("world", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.argument("dataset", type=click.Path(path_type=Path, file_okay=False))
def main(world: Path, dataset: Path) -> None:
    """Write the scenes of a drawn WORLD as a DATASET."""
    scenes = read_truth(world)
    write_dataset(scenes, dataset)
    click.echo(f"{len(scenes)} scenes in {dataset}")


if __name__ == "__main__":
    main()
