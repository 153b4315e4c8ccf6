"""`scale`: how search slows down as the catalogue grows, what it finds all the same, and the memory that it takes."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from semblance.benchmarks.collection import CALL_SECONDS, Layout, build, loaded_bytes, unload
from semblance.benchmarks.exact_search import TOP, nearest, recall
from semblance.benchmarks.experiment import Experiment, others_note
from semblance.benchmarks.figure import Figure, Measure
from semblance.benchmarks.host import Host
from semblance.benchmarks.reading import busy_seconds, cpu_seconds
from semblance.benchmarks.vectors import CATALOGUE, Vectors, embedder_of, home_of, make
from semblance.export.contract import EMBEDDING_SIZE, PROJECTED_SIZE
from semblance.export.projection import fit
from semblance.orchestrator.adapters.milvus import MilvusIndex
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.release import IndexParameters, Release
from semblance.orchestrator.search import search
from semblance.orchestrator.threads import Threads
from semblance.serving import milvus

NAME = "scale"
P50_RATIO, RECALL, MEMORY_RATIO = 2.0, 0.98, 0.25

SMALL = 1_000
# Numbers in a vector, and HNSW's M, which an index is built with. `ef` is of a search.
BUILT = ((128, 16), (256, 16), (384, 8), (384, 16), (512, 16), (EMBEDDING_SIZE, 16))
EFS = (40, 64, 128, 256)
DEFAULT = Layout(PROJECTED_SIZE, IndexParameters())

BURST = 50


@dataclass(frozen=True, slots=True)
class Round:
    """A burst of searches in the small collection, then the same in the large one: median seconds, and recall."""

    small: float
    large: float
    recall: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What layouts that differ in `ef` alone give.

    Attributes:
        bytes_per_row: by how much a server that was started anew grows when it loads the large collection, its
            scalar fields included. It has loaded the small one before, as a first one costs some more.
        milvus: the server's version.
        others_share: the part of the cores' time that other processes took during the searches.
    """

    rounds: Mapping[Layout, Sequence[Round]]
    bytes_per_row: float
    milvus: str
    others_share: float


@dataclass(frozen=True, slots=True)
class Point:
    """What one layout gives.

    Attributes:
        exact_recall: recall@10 of exact search by vectors of this length, so what the projection alone loses.
        recall: of the search.
    """

    dimension: int
    m: int
    ef: int
    exact_recall: float
    recall: float
    small_p50_ms: float
    large_p50_ms: float
    p50_ratio: float
    bytes_per_row: float


def measure(experiment: Experiment, command: str) -> Figure:
    """Of the default layout, beside others. Makes the vectors where they are missing, which takes most of an hour."""
    embedder = embedder_of(experiment.suite)
    for left in make(embedder, CATALOGUE, os.cpu_count() or 1):
        experiment.console.print(f"{NAME}: {left} vectors are to be made in {home_of(embedder)}")
    vectors = Vectors.read(home_of(embedder), CATALOGUE)
    truth = nearest(vectors.catalogue, vectors.queries)
    results: dict[tuple[int, int], Measured] = {}
    points: list[Point] = []
    for dimension, m in BUILT:
        short = shortened(vectors, dimension)
        layouts = [Layout(dimension, IndexParameters(m=m, ef=ef)) for ef in EFS]
        result = results[dimension, m] = measured(short, truth, layouts, experiment.folder)
        for point in _points(result, recall(nearest(short.catalogue, short.queries), truth)):
            experiment.console.print(point)
            points.append(point)
    host = Host.here({"milvus": result.milvus}).noting(
        f"{CATALOGUE} vectors over {SMALL}; {DEFAULT.dimension} numbers, M {DEFAULT.index.m}, ef {DEFAULT.index.ef}",
        others_note([each.others_share for each in results.values()]),
    )
    return _figure(results, points, command, host)


def _figure(results: Mapping[tuple[int, int], Measured], points: Sequence[Point], command: str, host: Host) -> Figure:
    short, full = results[DEFAULT.dimension, DEFAULT.index.m], results[EMBEDDING_SIZE, DEFAULT.index.m]
    rounds = short.rounds[DEFAULT]
    measures = {
        "p50_ratio": Measure(tuple(each.large / each.small for each in rounds), P50_RATIO, "lower"),
        "recall": Measure((statistics.mean(each.recall for each in rounds),), RECALL, "higher"),
        "memory_ratio": Measure((short.bytes_per_row / full.bytes_per_row,), MEMORY_RATIO, "lower"),
    }
    columns = {f"layout_{each.name}": tuple(getattr(point, each.name) for point in points) for each in fields(Point)}
    parts = {
        "small_p50_ms": tuple(1000 * each.small for each in rounds),
        "large_p50_ms": tuple(1000 * each.large for each in rounds),
        "recall": tuple(each.recall for each in rounds),
    }
    return Figure(NAME, measures, command, host, parts | columns)


def shortened(vectors: Vectors, dimension: int) -> Vectors:
    """As an embedder gives them that was exported with `--project`."""
    if dimension == EMBEDDING_SIZE:
        return vectors
    return vectors.projected(fit(vectors.others, dimension, whiten=False))


def measured(vectors: Vectors, truth: NDArray[np.int64], layouts: Sequence[Layout], folder: Path) -> Measured:
    """Fills a small and a large collection on a server of their own, and searches both by each of the layouts, which
    differ in `ef` alone.

    Args:
        truth: the rows that each query should find: int64 [queries, TOP].
        folder: where the server's data are put meanwhile.
    """
    data = Path(tempfile.mkdtemp(dir=folder))
    sizes = SMALL, len(vectors.catalogue)
    expected = [frozenset(map(str, rows)) for rows in truth]
    rounds = {}
    with milvus.standalone(data) as server:
        version = milvus.version(server.uri)
        for size in sizes:
            build(server.uri, layouts[0].release(size), vectors.catalogue[:size])
        before = _spent(server)
        for layout in layouts:
            releases = [layout.release(size) for size in sizes]
            rounds[layout] = asyncio.run(_rounds(server.uri, releases, vectors.queries, expected))
        seconds, others = _spent(server) - before
        unload(server.uri, releases)
    with milvus.standalone(data) as server:
        _, bytes_taken = (loaded_bytes(server, release) for release in releases)
    shutil.rmtree(data)
    share = max(0.0, others) / (seconds * (os.cpu_count() or 1))
    return Measured(rounds, bytes_taken / len(vectors.catalogue), version, share)


def _points(result: Measured, exact_recall: float) -> Iterator[Point]:
    for layout, rounds in result.rounds.items():
        yield Point(
            dimension=layout.dimension,
            m=layout.index.m,
            ef=layout.index.ef,
            exact_recall=exact_recall,
            recall=statistics.mean(each.recall for each in rounds),
            small_p50_ms=1000 * statistics.median(each.small for each in rounds),
            large_p50_ms=1000 * statistics.median(each.large for each in rounds),
            p50_ratio=statistics.median(each.large / each.small for each in rounds),
            bytes_per_row=result.bytes_per_row,
        )


def _spent(server: milvus.Milvus) -> NDArray[np.float64]:
    """Seconds that have passed, and CPU seconds of all processes but the server and this one."""
    ours = time.process_time() + cpu_seconds(psutil.Process(server.pid))
    return np.array([time.perf_counter(), busy_seconds() - ours])


async def _rounds(
    uri: str, releases: Sequence[Release], queries: NDArray[np.float32], truth: Sequence[frozenset[str]]
) -> list[Round]:
    """As many rounds as there are bursts of queries, after one to warm up."""
    index, threads = MilvusIndex(uri), Threads(1)
    try:
        rounds = []
        for start in (0, *range(0, len(queries), BURST)):
            taken = range(start, start + BURST)
            (small, _), (large, found) = [await _burst(index, threads, release, queries[taken]) for release in releases]
            hits = sum(len(ids & truth[number]) for ids, number in zip(found, taken, strict=True))
            rounds.append(Round(small, large, hits / (BURST * TOP)))
        return rounds[1:]
    finally:
        threads.close()
        await index.close()


async def _burst(
    index: MilvusIndex, threads: Threads, release: Release, queries: NDArray[np.float32]
) -> tuple[float, list[frozenset[str]]]:
    """Median seconds of the service's search step, and the ids found."""
    seconds, found = [], []
    for query in queries:
        begin = time.perf_counter()
        deadline = Deadline.after(CALL_SECONDS)
        metric = release.index.metric
        [hits] = await search(query[None], TOP, -math.inf, None, False, metric, release, index, threads, deadline)
        seconds.append(time.perf_counter() - begin)
        found.append(frozenset(hit.item_id for hit in hits))
    return statistics.median(seconds), found
