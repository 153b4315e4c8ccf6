"""Writes a dataset's folder, whole or not at all."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from semblance.training.dataset.check import Checked
from semblance.training.dataset.dataset import (
    MANIFEST,
    SPLITS,
    AnnotatedImage,
    AnnotatedObject,
    Dataset,
    DatasetError,
    Manifest,
    Split,
)

DATA_YAML = "data.yaml"

_UNFIT = re.compile(r"[^\w.-]+")
"""What has no place in a file's name: letters of every alphabet have."""

_LONGEST_STEM = 100


@contextmanager
def staging(folder: Path, replace: bool) -> Iterator[Path]:
    """A new folder beside, which becomes `folder` when the block ends well, and is removed when it does not.

    Raises:
        DatasetError: `folder` is there and is not to be replaced, or holds no dataset.
    """
    refuse_existing(folder, replace)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        aside.chmod(0o755)
        yield aside
        refuse_existing(folder, replace)
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
            folder.rename(old / folder.name)
            aside.rename(folder)
            shutil.rmtree(old)
        else:
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def refuse_existing(folder: Path, replace: bool) -> None:
    """Raises DatasetError where a dataset can't be written to `folder`."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / MANIFEST).exists():
        raise DatasetError(f"{folder} is there and is no dataset; name a folder that is not there yet")
    if not replace:
        raise DatasetError(f"{folder} is there; --replace puts the new dataset in its place")


def write(
    folder: Path, images: Sequence[Checked], splits: Sequence[Split], classes: Sequence[str], source: dict[str, str]
) -> Dataset:
    """Writes photos, labels, `data.yaml` and the manifest into an empty folder."""
    present = [split for split in SPLITS if split in splits]
    for split in present:
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
    names = _Names()
    annotated = []
    for image, split in zip(images, splits, strict=True):
        stem = names.take(image)
        file = f"images/{split}/{stem}{image.photo.suffix}"
        shutil.copyfile(image.photo.path, folder / file)
        entry = AnnotatedImage(
            file=file,
            split=split,
            sha256=image.photo.sha256,
            width=image.photo.width,
            height=image.photo.height,
            source=image.source.where,
            objects=image.objects,
        )
        (folder / "labels" / split / f"{stem}.txt").write_text(_label_file(entry, classes))
        annotated.append(entry)
    manifest = Manifest(classes=tuple(classes), source=source, images=tuple(annotated))
    (folder / MANIFEST).write_text(manifest.model_dump_json(by_alias=True, indent=1) + "\n")
    # Without `path`, Ultralytics takes the folder that the file is in, so that the dataset can be moved.
    data = {split: f"images/{split}" for split in present} | {"names": dict(enumerate(classes))}
    (folder / DATA_YAML).write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    return Dataset(folder, manifest)


class _Names:
    """Names for files, each once, whatever the suffix: a label file has its image's name without it."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, image: Checked) -> str:
        plain = _UNFIT.sub("_", image.photo.path.stem)[:_LONGEST_STEM].lstrip(".") or "photo"
        digest = image.photo.sha256[:8]
        stem, number = plain, 1
        # Two names that differ in case are one on some file systems.
        while stem.casefold() in self._taken:
            stem = f"{plain}-{digest}" if number == 1 else f"{plain}-{digest}-{number}"
            number += 1
        self._taken.add(stem.casefold())
        return stem


def _label_file(image: AnnotatedImage, classes: Sequence[str]) -> str:
    return "".join(f"{_label(found, image, classes)}\n" for found in image.objects)


def _label(found: AnnotatedObject, image: AnnotatedImage, classes: Sequence[str]) -> str:
    x1, y1, x2, y2 = found.box
    shares = (
        (x1 + x2) / 2 / image.width,
        (y1 + y2) / 2 / image.height,
        (x2 - x1) / image.width,
        (y2 - y1) / image.height,
    )
    return " ".join((str(classes.index(found.class_name)), *(f"{share:.6f}" for share in shares)))
