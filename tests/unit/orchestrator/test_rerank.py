"""Candidates of the index in the order of another measure."""

from dataclasses import replace

import numpy as np
import pytest

from semblance.orchestrator.box import Box
from semblance.orchestrator.measure import Measure, similarities
from semblance.orchestrator.ports import Neighbour, Neighbours
from semblance.orchestrator.rerank import rerank

BOX = Box(0, 0, 1, 1)


def answer(vectors: np.ndarray) -> Neighbours:
    """Rows a, b, c, … that the index has put in this order."""
    rows = [Neighbour(chr(97 + n), f"image{n}", BOX, 0.5, {"n": n}) for n in range(len(vectors))]
    return replace(Neighbours.of(rows), vectors=vectors)


@pytest.mark.parametrize("measure", Measure)
def test_rows_are_in_the_order_of_the_measure_and_whole(measure: Measure) -> None:
    random = np.random.default_rng(0)
    queries, stored = random.normal(size=(2, 16)).astype(np.float32), random.normal(size=(20, 16)).astype(np.float32)
    answers = rerank([answer(stored), answer(stored[:5])], queries, measure)
    for query, found, rows in zip(queries, answers, (stored, stored[:5]), strict=True):
        expected = similarities(measure, query, rows)
        order = sorted(range(len(rows)), key=lambda n: (-expected[n], n))
        assert list(found.item_ids) == [chr(97 + n) for n in order]
        assert list(found.similarities) == [expected[n] for n in order]
        assert [(row.item_id, row.similarity, row.attributes["n"]) for row in found] == [
            (chr(97 + n), float(expected[n]), n) for n in order
        ]


def test_what_is_alike_keeps_the_order_of_the_index() -> None:
    (found,) = rerank([answer(np.ones((4, 8), np.float32))], np.ones((1, 8), np.float32), Measure.HAMMING)
    assert list(found.item_ids) == ["a", "b", "c", "d"]


def test_nothing_stays_nothing() -> None:
    (found,) = rerank([answer(np.zeros((0, 8), np.float32))], np.ones((1, 8), np.float32), Measure.MANHATTAN)
    assert list(found) == []


def test_rows_without_vectors_are_an_error() -> None:
    bare = replace(answer(np.ones((2, 8), np.float32)), vectors=None)
    with pytest.raises(ValueError, match="without their vectors"):
        rerank([bare], np.ones((1, 8), np.float32), Measure.MANHATTAN)
