"""What goes to the service and what comes back.

Boxes are in pixels of the upright original image (its EXIF orientation applied).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from semblance.client._filters import Attribute, Filter

ImageInput = bytes | str | os.PathLike[str]
"""The bytes of a JPEG, PNG or WebP file, or the path of one."""

Objects = Literal["all", "largest", "whole_image"]
"""What of a photo is searched with: every detected object, the one of the largest area, or all of the image."""

Measure = Literal["cosine", "inner_product", "l2", "manhattan", "hamming"]
"""What a similarity is: -1 to 1 by the first two, 0 to 1 by the others; docs/similarity.md has the formulas."""

Metric = Literal["cosine", "inner_product", "l2"]
"""Measures that an index can find the nearest by."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels: x grows rightwards, y downwards, (x1, y1) is the upper left corner."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True, eq=False)
class SearchRequest:
    """A photo and how to search with it. Two requests are equal only if they are the same object, so that a
    caller can key a dictionary with them.

    Args:
        image: the bytes of a JPEG, PNG or WebP file, or its path.
        top_k: items returned for each object, 1 to 1000.
        filter: only items that meet it.
        objects: what of the photo is searched with; where nothing is detected, the whole image is.
        boxes: search with these boxes, at most 100, without detection; excludes `objects`.
        min_detection_score: detections below it are left out, 0 to 1; the service's default is 0.25.
        min_similarity: hits below it are left out, on the scale of the measure.
        include_attributes: whether hits carry their items' attributes.
        include_embeddings: whether objects carry their embeddings.
        include_timings: whether the result says how long each stage took.
        release: search this release, such as r2, one that is ready or active, whichever serves the caller; takes the
            role admin where the service asks who calls.
        measure: what similarities are; None: the metric of the release's index. By another one the nearest by the
            index's metric, ten for each item asked for and at least a hundred, are put in order anew, exactly.
    """

    image: ImageInput = field(repr=False)
    top_k: int = 10
    filter: Filter | None = None
    objects: Objects = "all"
    boxes: Sequence[Box] = ()
    min_detection_score: float | None = None
    min_similarity: float | None = None
    include_attributes: bool = False
    include_embeddings: bool = False
    include_timings: bool = False
    release: str | None = None
    measure: Measure | None = None


class Source(StrEnum):
    """Where an object's box comes from."""

    DETECTED = "detected"
    GIVEN = "given"
    WHOLE_IMAGE = "whole_image"


@dataclass(frozen=True, slots=True)
class Hit:
    """An item that resembles an object.

    Attributes:
        similarity: of the object and the item's best-matching object, by the measure of the result.
        image_id: the catalogue image that matched.
        box: the box in that image that matched.
        attributes: the item's, where asked for; otherwise empty.
    """

    item_id: str
    similarity: float
    image_id: str
    box: Box
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, slots=True)
class ObjectHits:
    """An object of the photo and the items that resemble it.

    Attributes:
        score: the detector's, 0 to 1; None of an object that was not detected.
        class_name: the detected class; None of an object that was not detected.
        hits: different items, most similar first.
        embedding: L2-normalised, where asked for.
    """

    source: Source
    box: Box
    score: float | None
    class_name: str | None
    hits: tuple[Hit, ...]
    embedding: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Timings:
    """Wall time of each stage in seconds, waiting for its turn included; 0 for a stage that was not needed.

    `total` is from the request's arrival in the service to its answer.
    """

    decode: float
    detect: float
    crop: float
    embed: float
    search: float
    total: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The objects of a photo with their hits: best detection first, or the boxes in the order they were given.

    Attributes:
        release: the release that served the whole request, such as r1.
        image_width: width of the upright photo in pixels.
        image_height: height of the upright photo in pixels.
        nothing_detected: detection found nothing, so the whole image was searched with instead.
        timings: where asked for.
        measure: what the similarities are.
    """

    release: str
    image_width: int
    image_height: int
    objects: tuple[ObjectHits, ...]
    nothing_detected: bool
    timings: Timings | None
    measure: Measure = "cosine"


@dataclass(frozen=True, slots=True, eq=False)
class NewItem:
    """An item to put: an id of 1 to 256 characters, one or more images, and typed attributes.

    An attribute keeps the type of the first value that the service saw under its name.
    """

    item_id: str
    images: Sequence[ImageInput] = field(repr=False)
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


class Outcome(StrEnum):
    """What a put did."""

    CREATED = "created"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class ItemImage:
    """A reference image of an item.

    Attributes:
        image_id: SHA-256 of the original bytes, in lower-case hexadecimal.
        width: of the upright image, in pixels.
        height: of the upright image, in pixels.
        vectors: how many the image has in the index: one an object, or one where nothing was detected.
        data: the original bytes, where asked for.
    """

    image_id: str
    width: int
    height: int
    vectors: int
    data: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Item:
    """What the catalogue holds under one id. Times are in UTC."""

    item_id: str
    attributes: Mapping[str, Attribute]
    images: tuple[ItemImage, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Counts:
    """How much the catalogue holds."""

    items: int
    images: int
    vectors: int
