"""Rows of the index become items."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.orchestrator.box import Box
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import InvalidArgument
from semblance.orchestrator.filter import Filter
from semblance.orchestrator.measure import METRICS, Measure, similarities
from semblance.orchestrator.ports import IndexEntry, IndexRow, Neighbour, Neighbours
from semblance.orchestrator.release import IndexParameters, ModelVersion, Release, Tensor
from semblance.orchestrator.search import CANDIDATES_PER_ITEM, LEAST_CANDIDATES, MAX_NUMBERS_TOGETHER, search
from semblance.orchestrator.threads import Threads

MODEL = ModelVersion("m", 1, "", Tensor("i", "UINT8", (8, 8, 3)), Tensor("o", "FP32", (4,)), 8, 114)
RELEASE = Release("r1", MODEL, MODEL, IndexParameters(), "c")
BOX = Box(0, 0, 1, 1)


class ListIndex:
    """Answers every vector with the first rows of a list, and remembers how many were asked for."""

    def __init__(self, rows: Sequence[Neighbour], vectors: NDArray[np.float32] | None = None) -> None:
        self.rows = rows
        self.vectors = vectors
        self.limits: list[int] = []

    async def search(
        self,
        release: Release,
        vectors: NDArray[np.float32],
        limit: int,
        where: Filter | None,
        include_attributes: bool,
        timeout: float,
        include_vectors: bool = False,
    ) -> list[Neighbours]:
        self.limits.append(limit)
        stored = self.vectors[:limit] if include_vectors and self.vectors is not None else None
        return [replace(Neighbours.of(self.rows[:limit]), vectors=stored) for _ in vectors]

    async def create(self, release: Release, timeout: float) -> None: ...
    async def check(self, release: Release, timeout: float) -> None: ...
    async def upsert(self, release: Release, rows: Sequence[IndexRow], timeout: float) -> None: ...
    async def delete(self, release: Release, item_id: str, keep: object, timeout: float) -> None: ...
    async def drop(self, collection: str, timeout: float) -> None: ...

    async def count(self, release: Release, timeout: float) -> int:
        return len(self.rows)

    async def entries(self, *_: object) -> Sequence[IndexEntry]:
        return []


def rows(*items: tuple[str, float]) -> list[Neighbour]:
    return [Neighbour(item_id, f"image{number}", BOX, score, {}) for number, (item_id, score) in enumerate(items)]


async def searched(
    index: ListIndex,
    vectors: NDArray[np.float32],
    top_k: int,
    min_similarity: float = -1,
    measure: Measure = Measure.COSINE,
) -> list[tuple[Neighbour, ...]]:
    threads, deadline = Threads(1), Deadline.after(10)
    try:
        return await search(vectors, top_k, min_similarity, None, False, measure, RELEASE, index, threads, deadline)
    finally:
        threads.close()


async def found(index: ListIndex, top_k: int, min_similarity: float = -1) -> list[list[tuple[str, float, str]]]:
    hits = await searched(index, np.zeros((2, 4), np.float32), top_k, min_similarity)
    return [[(hit.item_id, hit.similarity, hit.image_id) for hit in each] for each in hits]


async def test_an_item_counts_once_with_its_best_row() -> None:
    index = ListIndex(rows(("a", 0.9), ("a", 0.8), ("b", 0.7), ("a", 0.6)))
    assert await found(index, 2) == [[("a", 0.9, "image0"), ("b", 0.7, "image2")]] * 2
    assert index.limits == [8]


async def test_asks_for_more_where_one_item_fills_the_answer() -> None:
    index = ListIndex(rows(*[("a", 0.9)] * 40, ("b", 0.5), *[("c", 0.4)] * 60))
    assert await found(index, 2) == [[("a", 0.9, "image0"), ("b", 0.5, "image40")]] * 2
    assert index.limits == [8, 32, 128]


async def test_does_not_ask_for_rows_that_are_not_similar_enough() -> None:
    index = ListIndex(rows(*[("a", 0.9)] * 4, *[("b", 0.2)] * 100))
    assert await found(index, 2, min_similarity=0.5) == [[("a", 0.9, "image0")]] * 2
    assert index.limits == [8]


async def test_what_is_asked_of_many_vectors_is_bounded() -> None:
    index = ListIndex(rows(*[("a", 0.9)] * 20_000))
    vectors = np.zeros((100, 4), np.float32)
    hits = await searched(index, vectors, 200)
    assert [len(each) for each in hits] == [1] * 100
    assert index.limits == [800, 2000]
    with pytest.raises(InvalidArgument, match="ask for at most 200 items, or for fewer objects"):
        await searched(index, vectors, 201)


async def test_fewer_items_than_wanted_are_all_there_are() -> None:
    index = ListIndex(rows(("a", 0.9), ("b", 0.7)))
    assert await found(index, 5) == [[("a", 0.9, "image0"), ("b", 0.7, "image1")]] * 2
    assert index.limits == [20]


def catalogue(items: int, rows_of_each: int) -> ListIndex:
    """Rows of items, an item's behind each other, with vectors in every direction."""
    names = [f"item{number // rows_of_each}" for number in range(items * rows_of_each)]
    vectors = np.random.default_rng(0).normal(size=(len(names), 4)).astype(np.float32)
    return ListIndex(rows(*((name, 0.5) for name in names)), vectors)


@pytest.mark.parametrize("measure", [Measure.INNER_PRODUCT, Measure.L2, Measure.MANHATTAN, Measure.HAMMING])
async def test_candidates_are_put_in_order_and_then_grouped_by_item(measure: Measure) -> None:
    index = catalogue(items=30, rows_of_each=3)
    assert index.vectors is not None
    queries = np.random.default_rng(1).normal(size=(2, 4)).astype(np.float32)
    answers = await searched(index, queries, 5, measure=measure)
    for query, hits in zip(queries, answers, strict=True):
        best: dict[str, float] = {}
        for row, similarity in zip(index.rows, similarities(measure, query, index.vectors), strict=True):
            best[row.item_id] = max(best.get(row.item_id, -np.inf), similarity)
        expected = sorted(best.values(), reverse=True)[:5]
        assert [hit.similarity for hit in hits] == expected
        assert all(best[hit.item_id] == hit.similarity for hit in hits)
        assert len({hit.item_id for hit in hits}) == 5
    assert index.limits == [LEAST_CANDIDATES]


async def test_the_index_alone_decides_by_its_own_metric() -> None:
    index = catalogue(items=30, rows_of_each=3)
    hits, _ = await searched(index, np.ones((2, 4), np.float32), 5)
    assert [hit.item_id for hit in hits] == [f"item{number}" for number in range(5)]
    assert RELEASE.index.metric in METRICS


async def test_more_candidates_are_asked_for_where_one_item_fills_them() -> None:
    index = catalogue(items=2, rows_of_each=300)
    hits, _ = await searched(index, np.ones((2, 4), np.float32), 2, measure=Measure.MANHATTAN)
    assert {hit.item_id for hit in hits} == {"item0", "item1"}
    assert index.limits == [LEAST_CANDIDATES, 400]


async def test_candidates_that_are_not_similar_enough_are_left_out_and_no_more_are_asked_for() -> None:
    index = catalogue(items=40, rows_of_each=3)
    hits, _ = await searched(index, np.ones((2, 4), np.float32), 5, min_similarity=1, measure=Measure.MANHATTAN)
    assert hits == ()
    assert index.limits == [LEAST_CANDIDATES]
    await searched(index, np.ones((2, 4), np.float32), 11, measure=Measure.MANHATTAN)
    assert index.limits[1] == 11 * CANDIDATES_PER_ITEM


async def test_the_vectors_that_are_read_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_NUMBERS_TOGETHER * 4 == 32 * 2**20
    monkeypatch.setattr("semblance.orchestrator.search.MAX_NUMBERS_TOGETHER", 10 * 4 * 20)
    index = catalogue(items=40, rows_of_each=3)
    vectors = np.ones((10, 4), np.float32)
    assert [len(hits) for hits in await searched(index, vectors, 20, measure=Measure.HAMMING)] == [7] * 10
    assert index.limits == [20]
    with pytest.raises(InvalidArgument, match="put in order by hamming; ask for at most 20 items, for fewer objects"):
        await searched(index, vectors, 21, measure=Measure.HAMMING)
