"""Rows that an index found near by its own metric, in the order of another measure."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.measure import Measure, similarities
from semblance.orchestrator.ports import Neighbour, Neighbours


def rerank(answers: Sequence[Neighbours], queries: NDArray[np.float32], measure: Measure) -> list[Neighbours]:
    """Each answer, with its vectors, exactly by `measure`; what is alike keeps its order. `queries`: float32 [N, n]."""
    return [_reranked(answer, query, measure) for answer, query in zip(answers, queries, strict=True)]


def _reranked(answer: Neighbours, query: NDArray[np.float32], measure: Measure) -> Neighbours:
    if answer.vectors is None:
        raise ValueError("rows can't be put in order by another measure without their vectors")
    found = similarities(measure, query, answer.vectors)
    order = np.argsort(-found, kind="stable").tolist()

    def row(number: int) -> Neighbour:
        return replace(answer.row(order[number]), similarity=float(found[order[number]]))

    return Neighbours([answer.item_ids[number] for number in order], found[order].tolist(), row)
