"""The chain: decode → detect → crop → embed → search."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.box import Box
from semblance.orchestrator.crop import crop, enough_for
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.decode import ImageLimits, Photo, decode
from semblance.orchestrator.detect import DEFAULT_MIN_SCORE, Detection, detect
from semblance.orchestrator.embed import batches, embed
from semblance.orchestrator.filter import Filter
from semblance.orchestrator.letterbox import Letterbox, letterbox
from semblance.orchestrator.measure import Measure
from semblance.orchestrator.ports import Batch, InferenceServer, Neighbour, VectorIndex
from semblance.orchestrator.release import ModelVersion, Release
from semblance.orchestrator.search import search
from semblance.orchestrator.threads import Threads

# A large photo is decoded with no less than this many times the detector's pixels along its longer side, so that most
# objects are crisp in it; where an object is so small that its crop would lack detail, it is decoded again with more.
DETAIL = 2


class Objects(StrEnum):
    """What of a photo is looked at."""

    ALL = "all"
    LARGEST = "largest"
    WHOLE_IMAGE = "whole image"


@dataclass(frozen=True, slots=True)
class Selection:
    """Detected objects of at least `min_score`, or the caller's own `boxes` instead."""

    objects: Objects = Objects.ALL
    boxes: tuple[Box, ...] = ()
    min_score: float = DEFAULT_MIN_SCORE


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for.

    Attributes:
        release_id: the release that it names; empty: the one that serves its caller.
        measure: what similarities are; None: the metric of the release's index.
    """

    image: bytes
    selection: Selection
    top_k: int
    min_similarity: float
    where: Filter | None
    include_attributes: bool
    release_id: str = ""
    measure: Measure | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a photo that is searched with; `detection` tells of a detected one, `given` of the caller's box."""

    box: Box
    detection: Detection | None = None
    given: bool = False


@dataclass(slots=True)
class Stopwatch:
    """Wall seconds by stage; `on_lap` is told when one has ended."""

    started: float = field(default_factory=time.perf_counter)
    stages: dict[str, float] = field(default_factory=dict)
    on_lap: Callable[[], None] | None = None

    def lap(self, stage: str) -> None:
        """Ends a stage: what has passed since the one before is its time."""
        self.stages[stage] = self.total() - sum(self.stages.values())
        if self.on_lap is not None:
            self.on_lap()

    def total(self) -> float:
        return time.perf_counter() - self.started


@dataclass(frozen=True, slots=True)
class Description:
    """An image's regions, and a vector of each: float32 [N, dimension], L2-normalised."""

    width: int
    height: int
    regions: tuple[Region, ...]
    vectors: NDArray[np.float32]
    nothing_detected: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """`measure`: what the hits' similarities are."""

    release_id: str
    description: Description
    hits: Sequence[tuple[Neighbour, ...]]
    stopwatch: Stopwatch
    measure: Measure = Measure.COSINE


class Pipeline:
    def __init__(self, models: InferenceServer, index: VectorIndex, threads: Threads, limits: ImageLimits) -> None:
        self._models = models
        self._index = index
        self._threads = threads
        self._limits = limits

    async def search(self, query: Query, release: Release, deadline: Deadline, stopwatch: Stopwatch) -> Answer:
        """The items nearest to each region of the query's photo."""
        description = await self.describe(query.image, query.selection, release, deadline, stopwatch)
        measure = query.measure or release.index.metric
        hits = await search(
            description.vectors,
            query.top_k,
            query.min_similarity,
            query.where,
            query.include_attributes,
            measure,
            release,
            self._index,
            self._threads,
            deadline,
        )
        stopwatch.lap("search")
        return Answer(release.release_id, description, hits, stopwatch, measure)

    async def describe(
        self, image: bytes, selection: Selection, release: Release, deadline: Deadline, stopwatch: Stopwatch
    ) -> Description:
        """The first four steps: what the image shows, as vectors of the release's embedder."""
        if selection.boxes or selection.objects is Objects.WHOLE_IMAGE:
            photo = await self._threads.run(self._decode, image, release.detector)
            stopwatch.lap("decode")
            regions = _given(photo, selection)
        else:
            with self._models.batch(release.detector, rows=1) as batch:
                photo, boxed = await self._threads.run(self._decode_into, batch, image, release.detector)
                stopwatch.lap("decode")
                class_names = release.detector.class_names
                detections = await detect(batch, boxed, photo, selection.min_score, class_names, deadline)
            regions = _detected(detections, selection)
        nothing_detected = not regions
        regions = regions or (Region(Box.whole(photo.width, photo.height)),)
        stopwatch.lap("detect")

        boxes = [region.box for region in regions]
        with batches(self._models, release.embedder, len(boxes)) as crops:
            await self._threads.run(self._crop, image, photo, boxes, crops, release.embedder)
            stopwatch.lap("crop")
            vectors = await embed(crops, deadline)
        stopwatch.lap("embed")
        return Description(photo.width, photo.height, regions, vectors, nothing_detected)

    def _decode(self, image: bytes, detector: ModelVersion) -> Photo:
        return decode(image, self._limits, DETAIL * detector.input_size)

    def _decode_into(self, batch: Batch, image: bytes, detector: ModelVersion) -> tuple[Photo, Letterbox]:
        """The detector's input too, as one piece of work: each handing over to a thread costs."""
        photo = self._decode(image, detector)
        return photo, letterbox(photo.pixels, batch.pixels[0], detector.pad_value)

    def _crop(
        self, image: bytes, photo: Photo, boxes: Sequence[Box], crops: Sequence[Batch], embedder: ModelVersion
    ) -> None:
        enough = enough_for(boxes, photo, embedder.input_size)
        if max(photo.pixels.shape) < enough:
            photo = decode(image, self._limits, enough)
        crop(photo, boxes, [square for batch in crops for square in batch.pixels], embedder.pad_value)


def _given(photo: Photo, selection: Selection) -> tuple[Region, ...]:
    """What the caller wants to be looked at."""
    if selection.boxes:
        return tuple(Region(box.checked(photo.width, photo.height), given=True) for box in selection.boxes)
    return (Region(Box.whole(photo.width, photo.height)),)


def _detected(detections: Sequence[Detection], selection: Selection) -> tuple[Region, ...]:
    """Empty where nothing was detected."""
    if selection.objects is Objects.LARGEST and detections:
        detections = [max(detections, key=lambda detection: detection.box.area)]
    return tuple(Region(detection.box, detection) for detection in detections)
