"""What a similarity is, beside the plain formulas."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.orchestrator.measure import METRICS, Measure, similarities

NUMBERS = 48

Vector = Sequence[float]


def euclid(q: Vector, x: Vector) -> float:
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(q, x, strict=True)))


# In Python's floats, number by number.
REFERENCE: dict[Measure, Callable[[Vector, Vector], float]] = {
    Measure.COSINE: lambda q, x: sum(a * b for a, b in zip(q, x, strict=True)) / (math.hypot(*q) * math.hypot(*x)),
    Measure.INNER_PRODUCT: lambda q, x: sum(a * b for a, b in zip(q, x, strict=True)),
    Measure.L2: lambda q, x: 1 - euclid(q, x) / 2,
    Measure.MANHATTAN: lambda q, x: 1 - sum(abs(a - b) for a, b in zip(q, x, strict=True)) / (2 * math.sqrt(len(q))),
    Measure.HAMMING: lambda q, x: sum((a > 0) == (b > 0) for a, b in zip(q, x, strict=True)) / len(q),
}


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    """float32 [count, NUMBERS], of length 1, in every direction."""
    made = np.random.default_rng(seed).normal(size=(count, NUMBERS)).astype(np.float32)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("measure", Measure)
def test_it_is_what_the_formula_says(measure: Measure) -> None:
    rows, queries = vectors(100), vectors(5, seed=1)
    for query in queries:
        found = similarities(measure, query, rows)
        assert found.dtype == np.float32
        expected = [REFERENCE[measure](query.tolist(), row.tolist()) for row in rows]
        assert found.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("measure", Measure)
def test_1_is_the_same_and_the_least_is_the_opposite(measure: Measure) -> None:
    # All numbers as large: as far from its opposite as can be, by every measure.
    corner = np.where(vectors(1)[0] > 0, 1, -1).astype(np.float32) / np.float32(math.sqrt(NUMBERS))
    same, opposite = similarities(measure, corner, np.stack([corner, -corner])).tolist()
    assert same == pytest.approx(1, abs=1e-6)
    assert opposite == pytest.approx(measure.least, abs=1e-6)
    everything = similarities(measure, vectors(1, seed=2)[0], vectors(2000))
    assert measure.least <= everything.min() <= everything.max() <= 1


def test_what_an_index_finds_by_orders_vectors_of_length_1_alike() -> None:
    query, rows = vectors(1, seed=3)[0], vectors(500)
    orders = {measure: np.argsort(-similarities(measure, query, rows)).tolist() for measure in Measure}
    assert orders[Measure.COSINE] == orders[Measure.INNER_PRODUCT] == orders[Measure.L2]
    assert orders[Measure.MANHATTAN] != orders[Measure.COSINE] != orders[Measure.HAMMING]
    assert {Measure.COSINE, Measure.INNER_PRODUCT, Measure.L2} == set(METRICS)


def test_what_is_not_greater_than_0_is_one_sign() -> None:
    """After a ReLU nothing is less than 0: whether a number is there at all is all that is left."""
    query = np.array([0.0, -0.0, 0.6, 0.8], np.float32)
    rows = np.array([[-1, -1, 1, 1], [1, 0, 1, 0]], np.float32)
    assert similarities(Measure.HAMMING, query, rows).tolist() == [1.0, 0.5]


@pytest.mark.parametrize("measure", Measure)
def test_no_rows_have_no_similarities(measure: Measure) -> None:
    assert similarities(measure, vectors(1)[0], vectors(0)).shape == (0,)
