"""Holds an export against its photos: what of it can be used, and what is wrong with the rest."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from semblance.training.dataset import photo as photos
from semblance.training.dataset.dataset import AnnotatedObject, Box
from semblance.training.dataset.finding import Finding, Severity
from semblance.training.dataset.location import Locations
from semblance.training.dataset.photo import Photo, PhotoError
from semblance.training.dataset.source import Corners, Export, SourceImage, SourceObject

MIN_SIDE = 1.0
"""Pixels: a side that is shorter is a slip of the mouse."""

SHAPE_TOLERANCE = 0.02
"""By how much the proportions of a photo may differ from what the annotator saw: copies have whole pixels."""


@dataclass(frozen=True, eq=False)
class Checked:
    """A photo with its objects, as they go into the dataset."""

    source: SourceImage
    photo: Photo
    objects: tuple[AnnotatedObject, ...]

    @property
    def items(self) -> frozenset[str]:
        return frozenset(found.item_id for found in self.objects if found.item_id is not None)


@dataclass(frozen=True)
class Check:
    """What came of checking an export. `classes` are in the order of their numbers."""

    images: tuple[Checked, ...]
    classes: tuple[str, ...]
    findings: tuple[Finding, ...]


def check(
    export: Export,
    locations: Locations,
    classes: Sequence[str] | None,
    max_outside: float,
    progress: Callable[[], None],
) -> Check:
    """Finds and decodes every photo and holds its boxes against it.

    Args:
        classes: those that are expected, in the order of their numbers; None takes what the export has.
        max_outside: the largest share of a box's area that may lie outside of the photo; it is cut off.
        progress: called once a photo.
    """
    named = {found.class_name for image in export.images for found in image.objects}
    known = tuple(classes) if classes is not None else export.classes or tuple(sorted(named))
    findings: list[Finding] = []
    kept: list[Checked] = []
    references: dict[Path, SourceImage] = {}
    for image, photo in _read(export, locations):
        progress()
        if isinstance(photo, Finding):
            findings.append(photo)
            continue
        other = references.setdefault(photo.path.resolve(), image)
        if problem := _mismatch(image, photo, other):
            findings.append(problem)
            continue
        measure = _Measure(image, photo, frozenset(known), max_outside)
        objects = measure.objects()
        findings += measure.findings
        if measure.is_usable:
            kept.append(Checked(image, photo, objects))
    return Check(tuple(kept), known, tuple(findings))


def _read(export: Export, locations: Locations) -> Iterator[tuple[SourceImage, Photo | Finding]]:
    """Every image with its photo, in the export's order; Pillow decodes outside of Python's lock."""

    def found(image: SourceImage) -> Photo | Finding:
        if image.faults:
            return Finding(Severity.ERROR, "annotations of no use", image.where, "; ".join(image.faults))
        path = locations.find(image.reference)
        if path is None:
            problem = f"{image.reference} is not there; --images FOLDER or --map PREFIX=FOLDER say where photos are"
            return Finding(Severity.ERROR, "image missing", image.where, problem)
        try:
            return photos.read(path)
        except PhotoError as error:
            return Finding(Severity.ERROR, "image unreadable", image.where, str(error))

    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield from zip(export.images, pool.map(found, export.images), strict=True)
    finally:
        # Ctrl-C need not wait for thousands of photos.
        pool.shutdown(cancel_futures=True)


def _mismatch(image: SourceImage, photo: Photo, other: SourceImage) -> Finding | None:
    """Why a photo can't be the one that was annotated; `other` is the image that was found in this file first."""
    if other.reference != image.reference:
        problem = f"{image.reference} and {other.reference} of {other.where} were both found as {photo.path}"
        return Finding(Severity.ERROR, "one file for two images", image.where, f"{problem}; use --map")
    if image.size is not None:
        width, height = image.size
        ratio = (width * photo.height) / (height * photo.width)
        if abs(ratio - 1) > SHAPE_TOLERANCE:
            problem = (
                f"annotated as {width}×{height}, but {photo.path} is {photo.width}×{photo.height} upright: another "
                "photo, or annotated lying on its side"
            )
            return Finding(Severity.ERROR, "image of another shape", image.where, problem)
    return None


class _Measure:
    """The boxes of one photo, in its pixels."""

    def __init__(self, image: SourceImage, photo: Photo, known: frozenset[str], max_outside: float) -> None:
        self.image, self.photo, self.known, self.max_outside = image, photo, known, max_outside
        self.findings: list[Finding] = []
        self.is_usable = True

    def objects(self) -> tuple[AnnotatedObject, ...]:
        return tuple(found for source in self.image.objects if (found := self._object(source)))

    def _find(self, severity: Severity, kind: str, source: SourceObject, problem: str) -> None:
        self.findings.append(Finding(severity, kind, f"{self.image.where}, {source.where}", problem))

    def _object(self, source: SourceObject) -> AnnotatedObject | None:
        if source.class_name not in self.known:
            expected = ", ".join(sorted(self.known))
            self._find(Severity.ERROR, "unknown class", source, f"{source.class_name!r} is none of {expected}")
            return None
        photo = self.photo
        corners = source.shape.corners(photo.width, photo.height)
        xs, ys = zip(*corners, strict=True)
        whole: Box = (min(xs), min(ys), max(xs), max(ys))
        # Numbers of an export are finite; their products may not be.
        is_finite = all(map(math.isfinite, (*xs, *ys)))
        if is_finite and min(whole[2] - whole[0], whole[3] - whole[1]) < MIN_SIDE:
            self._find(Severity.WARNING, "box without area", source, f"{_shown(whole)}: left out")
            return None
        inside: Box = (max(whole[0], 0.0), max(whole[1], 0.0), min(whole[2], photo.width), min(whole[3], photo.height))
        outside = 1 - _area(inside) / _area(whole) if is_finite else 1.0
        is_visible = is_finite and min(inside[2] - inside[0], inside[3] - inside[1]) >= MIN_SIDE
        if not is_visible or outside > self.max_outside:
            problem = f"{_shown(whole)} is {outside:.0%} outside of {photo.width}×{photo.height}"
            self._find(Severity.ERROR, "box outside the image", source, f"{problem}; --max-outside permits more")
            self.is_usable = False
            return None
        # A thousandth is rounding, which nobody need hear of.
        if outside > 1e-3:
            self._find(
                Severity.NOTE, "box cut at the image's edge", source, f"{_shown(whole)} was {outside:.0%} outside"
            )
        polygon = None if source.shape.is_upright else cast(Corners, corners)
        return AnnotatedObject.model_validate(
            {"class": source.class_name, "box": inside, "item_id": source.item_id, "polygon": polygon}
        )


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _shown(box: Box) -> str:
    return f"box {', '.join(f'{edge:.0f}' for edge in box)}"
