"""Callers' verdicts as queries: `queries.jsonl` of a folder that `semblance feedback export` wrote."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from semblance.training.dataset.dataset import AnnotatedImage, AnnotatedObject, Box, Dataset, Manifest
from semblance.training.evaluate.errors import EvaluationError

FILE = "queries.jsonl"

UNNAMED = "unknown"
"""The class of a query of which nobody said one."""


class _Line(BaseModel):
    """One query: the photo's object in the box, or all of the photo where there is none, is that item."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    image: str
    box: Box | None = None
    class_name: str | None = Field(default=None, validation_alias="class")
    item_id: str = Field(min_length=1)


def read(folder: Path) -> Dataset:
    """The photos with the objects that somebody told the item of, as a dataset of one split, `test`. They are the
    objects that were talked about, not all of a photo, so that nothing can be said of detection's precision.

    Raises:
        EvaluationError: The folder holds no queries, or they are not what they should be.
    """
    by_image: dict[str, list[_Line]] = defaultdict(list)
    for number, text in enumerate(_lines(folder), 1):
        try:
            line = _Line.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise EvaluationError(f"{folder / FILE}, line {number}: {where}: {first['msg']}") from error
        by_image[line.image].append(line)
    images = tuple(_annotated(folder, name, lines) for name, lines in sorted(by_image.items()))
    classes = sorted({each.class_name for image in images for each in image.objects})
    return Dataset(folder, Manifest(classes=tuple(classes), source={"made by": "semblance feedback"}, images=images))


def _lines(folder: Path) -> list[str]:
    try:
        lines = [line for line in (folder / FILE).read_text("utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise EvaluationError(
            f"{folder / FILE} can't be read ({error.strerror}); `semblance feedback export` writes it"
        ) from error
    if not lines:
        raise EvaluationError(f"{folder / FILE} has no queries: no verdict says what an item is")
    return lines


def _annotated(folder: Path, name: str, lines: list[_Line]) -> AnnotatedImage:
    path = folder / name
    try:
        data = path.read_bytes()
        with Image.open(path) as opened:
            width, height = ImageOps.exif_transpose(opened).size
    except (OSError, UnidentifiedImageError) as error:
        raise EvaluationError(f"{path}, of which {FILE} tells, is no readable photo: {error}") from error
    objects = [
        AnnotatedObject.model_validate(
            {"class": line.class_name or UNNAMED, "box": line.box or (0, 0, width, height), "item_id": line.item_id}
        )
        for line in lines
    ]
    return AnnotatedImage(
        file=name,
        split="test",
        sha256=hashlib.sha256(data).hexdigest(),
        width=width,
        height=height,
        source=name,
        objects=tuple(objects),
    )
