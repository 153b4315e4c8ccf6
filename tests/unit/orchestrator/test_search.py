"""Rows of the index become items."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.orchestrator.box import Box
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import InvalidArgument
from semblance.orchestrator.filter import Filter
from semblance.orchestrator.ports import IndexEntry, IndexRow, Neighbour, Neighbours
from semblance.orchestrator.release import IndexParameters, ModelVersion, Release, Tensor
from semblance.orchestrator.search import search

MODEL = ModelVersion("m", 1, "", Tensor("i", "UINT8", (8, 8, 3)), Tensor("o", "FP32", (4,)), 8, 114)
RELEASE = Release("r1", MODEL, MODEL, IndexParameters(), "c")
BOX = Box(0, 0, 1, 1)


class ListIndex:
    """Answers every vector with the first rows of a list, and remembers how many were asked for."""

    def __init__(self, rows: Sequence[Neighbour]) -> None:
        self.rows = rows
        self.limits: list[int] = []

    async def search(
        self,
        release: Release,
        vectors: NDArray[np.float32],
        limit: int,
        where: Filter | None,
        include_attributes: bool,
        timeout: float,
    ) -> list[Neighbours]:
        self.limits.append(limit)
        return [Neighbours.of(self.rows[:limit]) for _ in vectors]

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


async def found(index: ListIndex, top_k: int, min_similarity: float = -1) -> list[list[tuple[str, float, str]]]:
    vectors = np.zeros((2, 4), np.float32)
    hits = await search(vectors, top_k, min_similarity, None, False, RELEASE, index, Deadline.after(1))
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
    hits = await search(vectors, 200, -1, None, False, RELEASE, index, Deadline.after(10))
    assert [len(each) for each in hits] == [1] * 100
    assert index.limits == [800, 2000]
    with pytest.raises(InvalidArgument, match="ask for at most 200 items, or for fewer objects"):
        await search(vectors, 201, -1, None, False, RELEASE, index, Deadline.after(10))


async def test_fewer_items_than_wanted_are_all_there_are() -> None:
    index = ListIndex(rows(("a", 0.9), ("b", 0.7)))
    assert await found(index, 5) == [[("a", 0.9, "image0"), ("b", 0.7, "image1")]] * 2
    assert index.limits == [20]
