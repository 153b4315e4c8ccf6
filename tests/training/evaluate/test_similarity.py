"""Five measures and the places of the right item, against definitions written out."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.training.evaluate.errors import EvaluationError
from semblance.training.evaluate.interval import Bootstrap
from semblance.training.evaluate.similarity import MEASURES, Asked, compared, places
from semblance.training.evaluate.sweep import recall

RNG = np.random.default_rng(6)
QUERIES = RNG.normal(size=(7, 20)).astype(np.float32)
VECTORS = RNG.normal(size=(30, 20)).astype(np.float32)

DEFINITIONS: dict[str, Callable[[NDArray[np.float32], NDArray[np.float32]], float]] = {
    "cosine": lambda q, v: float(q @ v / np.linalg.norm(q) / np.linalg.norm(v)),
    "inner product": lambda q, v: float(q @ v),
    "L2": lambda q, v: -float(np.sum((q - v) ** 2)),
    "Manhattan": lambda q, v: -float(np.sum(np.abs(q - v))),
    "Hamming": lambda q, v: -float(np.sum((q > 0) != (v > 0))),
}


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_is_its_definition(name: str) -> None:
    expected = [[DEFINITIONS[name](query, vector) for vector in VECTORS] for query in QUERIES]
    np.testing.assert_allclose(MEASURES[name](QUERIES, VECTORS), expected, rtol=1e-4, atol=1e-4)


def test_hamming_counts_signs_of_a_length_that_fills_no_bytes() -> None:
    odd = np.array([[1, -1, 1, 0.0, 2, -3, 4, 5, -6]], np.float32)
    assert MEASURES["Hamming"](odd, -odd).tolist() == [[-8.0]]


def test_normalised_vectors_have_one_order_by_cosine_inner_product_and_l2() -> None:
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (QUERIES, VECTORS)]
    orders = [np.argsort(-MEASURES[name](*unit), axis=1) for name in ("cosine", "inner product", "L2")]
    assert (orders[0] == orders[1]).all()
    assert (orders[0] == orders[2]).all()


def test_an_item_stands_where_its_best_vector_does_and_ties_count_against_it() -> None:
    items = np.array([0, 0, 1, 1, 2])
    similar = np.array([[0.9, 0.1, 0.8, 0.7, 0.2], [0.5, 0.4, 0.5, 0.1, 0.5]], np.float32)
    ranks, precisions = places(similar, items, np.array([1, 0]))
    assert ranks.tolist() == [2, 3]
    # Its vectors stand 2nd and 3rd; then 3rd, behind two ties, and 4th.
    assert precisions == pytest.approx([(1 / 2 + 2 / 3) / 2, (1 / 3 + 2 / 4) / 2])


def test_measures_are_compared_on_the_same_queries() -> None:
    names = np.array([f"item-{number // 2}" for number in range(30)])
    right = np.arange(0, 30, 2)
    asked = Asked(VECTORS[right] + 0.01, names[right], np.arange(15), 15)
    measured = compared(asked, VECTORS, names, Bootstrap(15, resamples=100))
    assert list(measured) == list(MEASURES)
    for each in measured.values():
        assert each.figures["recall@1"].value == 1
        assert each.difference.value == 0
        assert each.figures["map"].value < 1


def test_an_item_that_the_index_does_not_hold_is_named() -> None:
    asked = Asked(VECTORS[:1], np.array(["gone"]), np.zeros(1, int), 1)
    with pytest.raises(EvaluationError, match=r"gone among them; `semblance verify --repair`"):
        compared(asked, VECTORS, np.array(["there"] * 30), Bootstrap(2, resamples=5))


def test_any_of_equally_similar_rows_counts_as_found() -> None:
    similar = np.array([1, 0.9] + [0.5] * 12, np.float32)
    assert recall(similar, [0, 1, *range(6, 14)]) == 1
    assert recall(similar, [1, *range(6, 14)]) == 0.9
    assert recall(np.array([0.3, 0.2], np.float32), [1]) == 0.5
