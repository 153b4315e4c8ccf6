"""What HNSW finds of what an exact search would, and what it costs, as its ef grows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semblance.training.evaluate.catalogue import Catalogue, Index
from semblance.training.evaluate.similarity import MEASURES

LIMIT = 10
"""Rows that are asked for, and compared: recall@10. HNSW needs an ef of as many."""

EFS = (10, 16, 32, 64, 128, 256)

QUERIES = 100
"""At most so many of the evaluation's queries."""

TIE = 1e-5
"""A row counts as found where it is as similar as the tenth, less this: Milvus adds in another order."""

METRICS = {"COSINE": "cosine", "IP": "inner product", "L2": "L2"}


@dataclass(frozen=True)
class Point:
    """At one ef. `cost`: the median, over the queries, of its latency over that at the smallest ef, of the same query;
    `milliseconds`: its median latency on this host."""

    ef: int
    recall: float
    cost: float
    milliseconds: float


def swept(index: Index, catalogue: Catalogue, queries: NDArray[np.float32], served: int) -> tuple[Point, ...]:
    """At each of `EFS` and the release's own, `served`, in turns for each query."""
    efs = sorted({*EFS, served})
    some = queries[np.linspace(0, len(queries) - 1, min(QUERIES, len(queries))).round().astype(int)]
    similar = MEASURES[METRICS[catalogue.metric]](some, catalogue.vectors)
    rows = {key: row for row, key in enumerate(catalogue.keys.tolist())}
    index.search(some[0], LIMIT, efs[0], catalogue.metric)
    recalls, seconds = np.empty((len(some), len(efs))), np.empty((len(some), len(efs)))
    for number, query in enumerate(some):
        # Another order for each query, so that none always finds what the one before left in the cache.
        for column in np.roll(range(len(efs)), number):
            begin = time.perf_counter()
            keys = index.search(query, LIMIT, efs[column], catalogue.metric)
            seconds[number, column] = time.perf_counter() - begin
            recalls[number, column] = recall(similar[number], [rows[key] for key in keys if key in rows])
    return tuple(
        Point(
            ef,
            float(recalls[:, column].mean()),
            statistics.median(seconds[:, column] / seconds[:, 0]),
            1000 * statistics.median(seconds[:, column]),
        )
        for column, ef in enumerate(efs)
    )


def recall(similar: NDArray[np.float32], found: Sequence[int]) -> float:
    """The share of the `LIMIT` most similar rows that was found; of rows that are equally similar, any will do.

    `similar`: float32 [N], the query's similarity with each row.
    """
    most = min(LIMIT, len(similar))
    least = np.partition(similar, len(similar) - most)[len(similar) - most]
    return min(most, int((similar[list(found)] >= least - TIE).sum())) / most
