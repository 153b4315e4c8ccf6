"""COCO's instances JSON: photos, categories and annotations with boxes in pixels, joined by ids.

Format: https://cocodataset.org/#format-data. Crowds (`iscrowd`) are no objects and are left out. An annotation that has
no box has that of its polygons.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, FiniteFloat, PositiveInt

from semblance.training.dataset.source import (
    Export,
    Outline,
    Record,
    Rectangle,
    SourceError,
    SourceImage,
    SourceObject,
    malformed,
    parse,
)

Name = Annotated[str, Field(min_length=1)]


class Category(Record):
    """A class."""

    id: int
    name: Name


class Photo(Record):
    """A photo; its width and height are what boxes are measured in."""

    id: int
    file_name: Name
    width: PositiveInt
    height: PositiveInt


class Annotation(Record):
    """An object."""

    id: int
    image_id: int
    category_id: int
    bbox: list[FiniteFloat] | None = None
    segmentation: Any = None
    iscrowd: Literal[0, 1] = 0


class Segmentation(Record):
    """Polygons of an annotation, each x and y by turns."""

    segmentation: list[list[FiniteFloat]]


T = TypeVar("T", Category, Photo, Annotation)


class Instances(Record):
    """The whole."""

    images: list[Any]
    annotations: list[Any]
    categories: list[Any]


def read(content: Any, root: Path, digest: str) -> Export:
    """What an export says.

    Raises:
        SourceError: It is malformed; the text names the annotation or image, and the field.
    """
    whole = parse(Instances, content, "the JSON")
    categories = _by_id([parse(Category, raw, _where("category", raw, n)) for n, raw in enumerate(whole.categories)])
    photos = _by_id([parse(Photo, raw, _where("image", raw, n)) for n, raw in enumerate(whole.images)])
    classes = tuple(categories[number].name for number in sorted(categories))
    if double := [name for name, times in Counter(classes).items() if times > 1]:
        raise SourceError(f"categories: {double[0]!r} is there twice")
    objects: defaultdict[int, list[SourceObject]] = defaultdict(list)
    remarks: Counter[str] = Counter()
    annotations = [parse(Annotation, raw, _where("annotation", raw, n)) for n, raw in enumerate(whole.annotations)]
    for annotation in _by_id(annotations).values():
        where = f"annotation {annotation.id}"
        if annotation.image_id not in photos:
            raise malformed(where, ["image_id"], f"there is no image {annotation.image_id}")
        if annotation.category_id not in categories:
            raise malformed(where, ["category_id"], f"there is no category {annotation.category_id}")
        if annotation.iscrowd:
            remarks["crowds: left out"] += 1
            continue
        shape = _shape(annotation, photos[annotation.image_id], where)
        objects[annotation.image_id].append(SourceObject(where, categories[annotation.category_id].name, shape))
    images = []
    for photo in photos.values():
        if photo.id not in objects:
            remarks["photos without an object: kept, as background"] += 1
        found = tuple(objects.get(photo.id, ()))
        images.append(SourceImage(f"image {photo.id}", photo.file_name, found, size=(photo.width, photo.height)))
    return Export("coco", root, digest, tuple(images), classes, remarks)


def _where(kind: str, raw: Any, number: int) -> str:
    if isinstance(raw, dict) and isinstance(raw.get("id"), int):
        return f"{kind} {raw['id']}"
    return f"entry {number} of the {kind} list"


def _by_id(records: Sequence[T]) -> dict[int, T]:
    found: dict[int, T] = {}
    for record in records:
        if record.id in found:
            raise malformed(f"{type(record).__name__.lower()} {record.id}", ["id"], "two have it")
        found[record.id] = record
    return found


def _shape(annotation: Annotation, photo: Photo, where: str) -> Rectangle | Outline:
    if annotation.bbox:
        if len(annotation.bbox) != 4 or min(annotation.bbox[2:]) < 0:
            raise malformed(where, ["bbox"], f"expected x, y, width and height, not {annotation.bbox}")
        x, y, width, height = annotation.bbox
        return Rectangle(x / photo.width, y / photo.height, width / photo.width, height / photo.height)
    if not annotation.segmentation:
        raise malformed(where, ["bbox"], "is missing, and there is no segmentation either")
    if isinstance(annotation.segmentation, dict):
        raise malformed(where, ["bbox"], "is missing, and of a segmentation only polygons are read, not run lengths")
    polygons = parse(Segmentation, {"segmentation": annotation.segmentation}, where).segmentation
    for index, polygon in enumerate(polygons):
        if len(polygon) < 6 or len(polygon) % 2:
            problem = f"expected the x and y of three points or more, and found {len(polygon)} numbers"
            raise malformed(where, ["segmentation", index], problem)
    numbers = [number for polygon in polygons for number in polygon]
    points = zip(numbers[::2], numbers[1::2], strict=True)
    return Outline(tuple((x / photo.width, y / photo.height) for x, y in points))
