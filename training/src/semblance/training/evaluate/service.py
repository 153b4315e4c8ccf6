"""Asks the running service about annotated photos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from semblance.client import (
    Box,
    Client,
    ImageInput,
    NotFoundError,
    ObjectHits,
    SearchRequest,
    SearchResult,
    SemblanceError,
    Source,
)
from semblance.training.dataset.dataset import AnnotatedImage, AnnotatedObject, Dataset
from semblance.training.dataset.dataset import Box as Corners
from semblance.training.evaluate.detection import SAME, SERVED_SCORE, matched, overlaps
from semblance.training.evaluate.errors import EvaluationError
from semblance.training.evaluate.sample import Answer, Detection, ObjectSample, PhotoSample

EVERY_SCORE = 0.0
"""Asks for all that the detector gives; the exported one leaves out what is below 0.05."""

DEPTH = 20
"""Hits asked for each object; a right item further down counts as not found."""

BOXES = 100
"""The service takes so many of a caller's boxes in one search."""

IN_FLIGHT = 4
"""Enough to keep two cores busy, and few enough for a slow host to answer each in time."""

SHOWN = 5
"""Names in a message."""


@dataclass(frozen=True)
class Observed:
    """What the service answered. `embeddings`: float32 [Q, dimension], of the true box of each query, in the order of
    `queries(photos)`."""

    release: str
    photos: tuple[PhotoSample, ...]
    embeddings: NDArray[np.float32]


@dataclass
class Service:
    """A release of the running service; its answers must all come from one."""

    client: Client
    console: Console
    asked: str | None
    """The release that is to answer; None for the one that serves."""
    releases: set[str] = field(default_factory=set)

    @property
    def release(self) -> str:
        """The one that answered."""
        [release] = self.releases
        return release

    def check_catalogue(self, images: Sequence[AnnotatedImage]) -> None:
        """Raises EvaluationError where an object's item is not in the catalogue: it could never be found."""
        wanted = sorted({each.item_id for image in images for each in image.objects if each.item_id is not None})
        missing = [item_id for item_id in wanted if not self._has(item_id)]
        if missing:
            raise EvaluationError(
                f"{len(missing)} of {len(wanted)} items of the annotations are not in the service's catalogue "
                f"({named(missing)}), so no search can find them: put them with `semblance index`, or correct the "
                "annotations' item ids"
            )

    def _has(self, item_id: str) -> bool:
        try:
            self.client.get(item_id)
        except NotFoundError:
            return False
        return True

    def detect(self, images: Sequence[ImageInput], least_score: float | None, label: str) -> list[SearchResult]:
        """Searches with what is detected with at least that score; None for the score that is served."""
        return self._search(
            [
                SearchRequest(image, top_k=DEPTH, min_detection_score=least_score, release=self.asked)
                for image in images
            ],
            label,
        )

    def observe(self, dataset: Dataset, images: Sequence[AnnotatedImage]) -> Observed:
        """Searches each photo with what is detected in it and with its true boxes."""
        paths = [dataset.path(image) for image in images]
        detected = self.detect(paths, EVERY_SCORE, "searching with detected boxes")
        asked = [(image, part) for image in images for part in _parts(_named(image.objects))]
        answers = self._search(
            [
                SearchRequest(
                    dataset.path(image),
                    top_k=DEPTH,
                    boxes=[_inside(each.box, image) for each in part],
                    include_embeddings=True,
                    release=self.asked,
                )
                for image, part in asked
            ],
            "searching with true boxes",
        )
        given = [hits for answer in answers for hits in answer.objects]
        remaining = iter(given)
        photos = tuple(sample(image, result, remaining) for image, result in zip(images, detected, strict=True))
        embeddings = np.array([hits.embedding for hits in given], np.float32)
        return Observed(self.release, photos, embeddings)

    def _search(self, requests: Sequence[SearchRequest], label: str) -> list[SearchResult]:
        """The answers, in the order of the requests; the first that fails is raised."""
        results: dict[SearchRequest, SearchResult] = {}
        answers = self.client.search_many(requests, in_flight=IN_FLIGHT)
        for request, result in track(answers, label, len(requests), console=self.console):
            if isinstance(result, SemblanceError):
                raise result
            results[request] = result
            self.releases.add(result.release)
            if len(self.releases) > 1:
                raise EvaluationError(
                    f"the service answered with releases {named(sorted(self.releases))} while it was evaluated; "
                    "evaluate again when no release is activated or tried on a share of the searches"
                )
        return [results[request] for request in requests]


def sample(image: AnnotatedImage, result: SearchResult, given: Iterator[ObjectHits]) -> PhotoSample:
    """What became of a photo; takes from `given` the answers to its true boxes, in their order."""
    objects = tuple(
        ObjectSample(
            class_name=each.class_name,
            box=each.box,
            item_id=each.item_id,
            found=found,
            given=None if each.item_id is None else answer(next(given), each.item_id),
        )
        for each, found in zip(image.objects, found_answers(image.objects, result), strict=True)
    )
    return PhotoSample(file=image.file, sha256=image.sha256, objects=objects, detections=_detections(result))


def found_answers(objects: Sequence[AnnotatedObject], result: SearchResult) -> list[Answer | None]:
    """Of the served detection of each object; None where there is none, or the object has no item.

    Which detection that is, their overlap alone says: a caller gets the item whatever the class is called. So one
    detection stands for all objects of the same box, which are one thing with several labels.
    """
    served = [hits for hits in result.objects if hits.source is Source.DETECTED and (hits.score or 0) >= SERVED_SCORE]
    boxes = list(dict.fromkeys(each.box for each in objects))
    choice = matched(overlaps([corners(hits.box) for hits in served], boxes), SAME)
    by_box = {boxes[number]: hits for number, hits in zip(choice, served, strict=True) if number >= 0}
    return [
        answer(by_box[each.box], each.item_id) if each.item_id is not None and each.box in by_box else None
        for each in objects
    ]


def answer(hits: ObjectHits, item_id: str) -> Answer:
    """How far up `item_id` is."""
    items = [hit.item_id for hit in hits.hits]
    first = hits.hits[0] if hits.hits else None
    return Answer(
        rank=items.index(item_id) + 1 if item_id in items else None,
        first=first.item_id if first else None,
        image_id=first.image_id if first else None,
        similarity=round(first.similarity, 4) if first else None,
    )


def named(names: Sequence[str]) -> str:
    """Some of them, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def corners(box: Box) -> Corners:
    return box.x1, box.y1, box.x2, box.y2


def _detections(result: SearchResult) -> tuple[Detection, ...]:
    return tuple(
        Detection(class_name=hits.class_name or "", score=hits.score or 0, box=corners(hits.box))
        for hits in result.objects
        if hits.source is Source.DETECTED
    )


def _inside(box: Corners, image: AnnotatedImage) -> Box:
    """The part of it that the service takes: annotators draw over the edge."""
    x1, y1, x2, y2 = box
    return Box(max(0.0, x1), max(0.0, y1), min(float(image.width), x2), min(float(image.height), y2))


def _named(objects: Sequence[AnnotatedObject]) -> list[AnnotatedObject]:
    return [each for each in objects if each.item_id is not None]


def _parts(objects: Sequence[AnnotatedObject]) -> list[Sequence[AnnotatedObject]]:
    return [objects[start : start + BOXES] for start in range(0, len(objects), BOXES)]


def check_classes(photos: Sequence[PhotoSample]) -> None:
    """Raises EvaluationError where the detector names none of the annotations' classes, though it detects."""
    annotated = {each.class_name for photo in photos for each in photo.objects}
    detected = {each.class_name for photo in photos for each in photo.detections}
    if detected and not annotated & detected:
        raise EvaluationError(
            f"the detector names {named(sorted(detected))}, and the annotations {named(sorted(annotated))}: no class "
            "is the same. Annotate with the detector's names, or train a detector on this dataset first"
        )
