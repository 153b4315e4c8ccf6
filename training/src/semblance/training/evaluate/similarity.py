"""Five measures of similarity, each computed exactly, offline, over the same vectors.

So no index is in between, and none has to be built for each: what differs is what the measure says alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from semblance.training.evaluate.errors import EvaluationError
from semblance.training.evaluate.interval import Bootstrap, Estimate, Statistic, Weights
from semblance.training.evaluate.retrieval import Ranks, shares

Vectors = NDArray[np.float32]
Similarities = NDArray[np.float32]
"""float32 [Q,N]: the larger, the more alike."""

QUERIES_AT_ONCE = 64
"""Their similarities with 1,000,000 vectors are 256 MB."""


def cosine(queries: Vectors, vectors: Vectors) -> Similarities:
    return inner_product(_unit(queries), _unit(vectors))


def inner_product(queries: Vectors, vectors: Vectors) -> Similarities:
    products: Similarities = queries @ vectors.T
    return products


def euclidean(queries: Vectors, vectors: Vectors) -> Similarities:
    """Less the squared distance, as Milvus orders L2."""
    squares = (queries**2).sum(axis=1)[:, None] + (vectors**2).sum(axis=1)[None]
    negative: Similarities = 2 * queries @ vectors.T - squares
    return negative


def manhattan(queries: Vectors, vectors: Vectors) -> Similarities:
    """Less the sum of absolute differences."""
    return -cdist(queries, vectors, "cityblock").astype(np.float32)


def hamming(queries: Vectors, vectors: Vectors) -> Similarities:
    """Less the number of places whose signs differ; 0 counts as negative."""
    bits, others = (np.packbits(each > 0, axis=1) for each in (queries, vectors))
    differing = [np.bitwise_count(row ^ others).sum(axis=1, dtype=np.int64) for row in bits]
    return -np.array(differing, np.float32).reshape(len(queries), len(vectors))


MEASURES: Mapping[str, Callable[[Vectors, Vectors], Similarities]] = {
    "cosine": cosine,
    "inner product": inner_product,
    "L2": euclidean,
    "Manhattan": manhattan,
    "Hamming": hamming,
}

FIGURES = ("recall@1", "recall@5", "recall@10", "mrr", "map")
"""Of a measure; `map` is the mean average precision over the right item's vectors, of which it may have several."""


@dataclass(frozen=True)
class Compared:
    """`difference`: recall@1 less that of cosine, the same photos paired."""

    figures: Mapping[str, Estimate]
    difference: Estimate


@dataclass(frozen=True)
class Asked:
    """Queries. `vectors`: float32 [Q, dimension]; `items`: str [Q], the right ones; `photo`: int64 [Q]."""

    vectors: Vectors
    items: NDArray[np.str_]
    photo: NDArray[np.int64]
    photos: int


def compared(asked: Asked, vectors: Vectors, items: NDArray[np.str_], bootstrap: Bootstrap) -> dict[str, Compared]:
    """By measure. `vectors`: float32 [N, dimension], `items`: str [N], the items that they are of.

    Raises:
        EvaluationError: A query's item has no vector.
    """
    if missing := sorted(set(asked.items.tolist()) - set(items.tolist())):
        raise EvaluationError(
            f"{len(missing)} items that the catalogue has are not in the index, {missing[0]} among them; "
            "`semblance verify --repair` mends that"
        )
    statistics = {name: _statistic(measure, asked, vectors, items) for name, measure in MEASURES.items()}
    usual = statistics["cosine"]
    result = {}
    for name, statistic in statistics.items():
        figures = dict(zip(FIGURES, bootstrap.estimates(statistic), strict=True))
        [difference] = bootstrap.estimates(_first_less(statistic, usual))
        result[name] = Compared(figures, difference)
    return result


def _statistic(
    measure: Callable[[Vectors, Vectors], Similarities], asked: Asked, vectors: Vectors, items: NDArray[np.str_]
) -> Statistic:
    """`FIGURES`."""
    names, numbers = np.unique(items, return_inverse=True)
    wanted = np.searchsorted(names, asked.items)
    parts = [slice(start, start + QUERIES_AT_ONCE) for start in range(0, len(asked.vectors), QUERIES_AT_ONCE)]
    pairs = [places(measure(asked.vectors[part], vectors), numbers, wanted[part]) for part in parts]
    rank, precision = (np.concatenate(column) for column in zip(*pairs, strict=True))
    ranks = Ranks(rank, asked.photo, asked.photos)
    sums = np.zeros((asked.photos, 2))
    np.add.at(sums, asked.photo, np.column_stack([precision, np.ones(len(precision))]))

    def figures(weights: Weights) -> NDArray[np.float64]:
        return np.column_stack([ranks.figures(weights), shares(weights @ sums)])

    return figures


def places(
    similarities: Similarities, numbers: NDArray[np.int64], wanted: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rank of each query's item among all items, each by its best vector, and the average precision of the item's
    vectors among all vectors: float64 [Q] each. Ties count against the right one.

    `numbers`: int64 [N], the item of each vector; `wanted`: int64 [Q], the right item of each query.
    """
    ranks, precisions = np.empty(len(similarities)), np.empty(len(similarities))
    for row, (similar, item) in enumerate(zip(similarities, wanted, strict=True)):
        mine = numbers == item
        best = similar[mine].max()
        ranks[row] = 1 + len(np.unique(numbers[(similar >= best) & ~mine]))
        others = np.sort(similar[~mine])
        own = np.sort(similar[mine])[::-1]
        above = len(others) - np.searchsorted(others, own, side="left")
        found = np.arange(1, len(own) + 1)
        precisions[row] = (found / (found + above)).mean()
    return ranks, precisions


def _first_less(statistic: Statistic, usual: Statistic) -> Statistic:
    """recall@1 of the one less that of the other."""
    return lambda weights: (statistic(weights) - usual(weights))[:, :1]


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit
