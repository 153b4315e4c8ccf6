"""The steps of the chain without the service around them: what each costs by itself on this host."""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from pymilvus import MilvusClient

from semblance.client import Box, Client
from semblance.export.contract import DETECTOR, EMBEDDER
from semblance.orchestrator.adapters.milvus_search import MilvusSearch
from semblance.orchestrator.letterbox import letterbox as fill
from semblance.orchestrator.search import ROWS_PER_ITEM
from semblance.orchestrator.testing import example_release

# Items that the benchmarks' searches want, as they do not say how many: the service's default.
TOP_K = 10
SEARCH_LIMIT = ROWS_PER_ITEM * TOP_K
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
    """One search in the service's collection, by the orchestrator's own call."""

    def __init__(self, uri: str, count: int, dimension: int) -> None:
        """`count` vectors in one search."""
        with closing(MilvusClient(uri, timeout=MILVUS_TIMEOUT)) as client:
            [collection] = client.list_collections(timeout=MILVUS_TIMEOUT)
        self._release = example_release(dimension, collection)
        vectors = np.random.default_rng(0).normal(size=(count, dimension)).astype(np.float32)
        self._vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        self._loop = asyncio.Runner()
        self._search = self._loop.run(self._connected(uri))

    def __call__(self) -> None:
        self._loop.run(self._search(self._release, self._vectors, SEARCH_LIMIT, "", False, False, MILVUS_TIMEOUT))

    def close(self) -> None:
        self._loop.run(self._search.close())
        self._loop.close()

    async def _connected(self, uri: str) -> MilvusSearch:
        search = MilvusSearch(uri, "", {})
        await search.connected()
        return search
