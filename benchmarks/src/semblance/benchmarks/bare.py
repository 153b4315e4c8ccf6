"""The steps of the chain without the service around them: what each costs by itself on this host."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from pymilvus import MilvusClient

from semblance.client import Box, Client
from semblance.export.contract import DETECTOR, EMBEDDER
from semblance.orchestrator.letterbox import letterbox as fill

# As the orchestrator asks: rows for each item wanted, items wanted by default, and HNSW's ef.
SEARCH_LIMIT = 40
SEARCH_PARAMETERS = {"metric_type": "COSINE", "params": {"ef": 128}}
MILVUS_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the models get for a set of photos, with the boxes that the service found in each.

    letterboxed: uint8 [photos, 640, 640, 3]; crops: uint8 [objects, 224, 224, 3].
    """

    letterboxed: NDArray[np.uint8]
    crops: NDArray[np.uint8]

    @property
    def objects(self) -> float:
        """Crops of a photo, on average."""
        return len(self.crops) / len(self.letterboxed)

    @classmethod
    def of(cls, photos: Sequence[bytes], target: str) -> Inputs:
        """Asks the service at `target` for the boxes."""
        with Client(target) as client:
            boxes = [[found.box for found in client.search(photo).objects] for photo in photos]
        pictures = [decode(photo) for photo in photos]
        return cls(
            np.stack([letterbox(picture) for picture in pictures]),
            np.concatenate([crops(picture, some) for picture, some in zip(pictures, boxes, strict=True)]),
        )


def decode(photo: bytes) -> NDArray[np.uint8]:
    """uint8 [height, width, 3], RGB."""
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(photo, colorspace="RGB")
    return pixels


def letterbox(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return _squared(picture, DETECTOR.input.dims[0])


def crops(picture: NDArray[np.uint8], boxes: Sequence[Box]) -> NDArray[np.uint8]:
    """uint8 [len(boxes), 224, 224, 3]."""
    corners = [(int(box.x1), int(box.y1), int(np.ceil(box.x2)), int(np.ceil(box.y2))) for box in boxes]
    return np.stack([_squared(picture[y1:y2, x1:x2], EMBEDDER.input.dims[0]) for x1, y1, x2, y2 in corners])


def _squared(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Scaled to fit and centred, by the service's own function: the bare stages do the same work."""
    square = np.empty((size, size, 3), np.uint8)
    fill(picture, square, DETECTOR.pad_value)
    return square


def decode_rate(photos: Sequence[bytes], seconds: float) -> float:
    """Photos a second, decoded by one thread for each core."""
    cores = len(os.sched_getaffinity(0))

    def work(end: float) -> int:
        for count, photo in enumerate(itertools.cycle(photos)):
            if time.perf_counter() > end:
                return count
            decode(photo)
        raise AssertionError

    begin = time.perf_counter()
    with ThreadPoolExecutor(cores) as threads:
        count = sum(threads.map(work, [begin + seconds] * cores))
    return count / (time.perf_counter() - begin)


def decode_cpu(photos: Sequence[bytes], seconds: float) -> float:
    """CPU seconds of one thread for one photo, on average over whole turns of `photos`."""
    count = 0
    begin, cpu = time.perf_counter(), time.thread_time()
    while time.perf_counter() - begin < seconds:
        for photo in photos:
            decode(photo)
        count += len(photos)
    return (time.thread_time() - cpu) / count


def median_seconds(step: Callable[[], object], times: int) -> float:
    """Median wall time of a step that runs alone."""
    laps = []
    for _ in range(times):
        begin = time.perf_counter()
        step()
        laps.append(time.perf_counter() - begin)
    return statistics.median(laps)


class BareSearch:
    """One search in the service's collection, asked as the orchestrator asks."""

    def __init__(self, uri: str, count: int, dimension: int) -> None:
        """`count` vectors in one search."""
        self._client = MilvusClient(uri, timeout=MILVUS_TIMEOUT)
        [self._collection] = self._client.list_collections(timeout=MILVUS_TIMEOUT)
        vectors = np.random.default_rng(0).normal(size=(count, dimension)).astype(np.float32)
        self._vectors = list(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def __call__(self) -> list[Any]:
        return list(
            self._client.search(
                self._collection,
                data=self._vectors,
                anns_field="vector",
                limit=SEARCH_LIMIT,
                search_params=SEARCH_PARAMETERS,
                output_fields=["item_id", "image_id", "x1", "y1", "x2", "y2"],
                consistency_level="Bounded",
                timeout=MILVUS_TIMEOUT,
            )
        )

    def close(self) -> None:
        self._client.close()
