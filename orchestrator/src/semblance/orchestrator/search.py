"""Step 5: the catalogue items nearest to each vector."""

from collections.abc import Awaitable, Callable

import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import InvalidArgument
from semblance.orchestrator.filter import Filter
from semblance.orchestrator.measure import Measure
from semblance.orchestrator.ports import Neighbour, Neighbours, VectorIndex
from semblance.orchestrator.release import Release
from semblance.orchestrator.rerank import rerank
from semblance.orchestrator.threads import Threads

# Rows asked for, for each item wanted: an item has as many rows as its images show objects.
ROWS_PER_ITEM = 4
# The same where another measure than the index's metric decides: the nearest by one are among the nearest by the other,
# and not the first of them.
CANDIDATES_PER_ITEM = 10
LEAST_CANDIDATES = 100
# The most rows that Milvus returns for one vector (its topK limit).
MAX_ROWS = 16_384
# Of all vectors together: rows that are read at once, numbers in their vectors, where these are read too (32 MiB), and
# items that may be asked for.
MAX_ROWS_TOGETHER = 200_000
MAX_NUMBERS_TOGETHER = 8 * 2**20
MAX_HITS = 20_000

Ask = Callable[[int], Awaitable[list[Neighbours]]]


async def search(
    vectors: NDArray[np.float32],
    top_k: int,
    min_similarity: float,
    where: Filter | None,
    include_attributes: bool,
    measure: Measure,
    release: Release,
    index: VectorIndex,
    threads: Threads,
    deadline: Deadline,
) -> list[tuple[Neighbour, ...]]:
    """For each of `vectors`, float32 [N, dimension], up to `top_k` different items, most similar by `measure` first,
    with the row of each that is the most similar.

    Rows are fetched in surplus and grouped by item here, because the index's own grouping loses recall after
    deletions; where too few items come out of a full answer, it asks for more.

    Raises InvalidArgument where all vectors together would have more than MAX_HITS items, or read more numbers than
    MAX_NUMBERS_TOGETHER for another measure than the index's metric.
    """
    count = max(1, len(vectors))
    if top_k * count > MAX_HITS:
        raise InvalidArgument(
            f"{count} objects with {top_k} items each are more than the {MAX_HITS:,} items that one answer may "
            f"have; ask for at most {MAX_HITS // count} items, or for fewer objects"
        )
    most = min(MAX_ROWS, MAX_ROWS_TOGETHER // count)
    reranks = measure is not release.index.metric

    async def ask(limit: int) -> list[Neighbours]:
        left = deadline.remaining()
        return await index.search(release, vectors, limit, where, include_attributes, left, include_vectors=reranks)

    if not reranks:
        return await _nearest(ask, top_k, min_similarity, most)
    most = min(most, MAX_NUMBERS_TOGETHER // (count * release.dimension))
    if top_k > most:
        raise InvalidArgument(
            f"{count} objects with {top_k} items each are more than can be put in order by {measure}; ask for at most "
            f"{most} items, for fewer objects, or by {release.index.metric}, as release {release.release_id} is indexed"
        )
    answers = await threads.run(rerank, await _candidates(ask, top_k, most), vectors, measure)
    return [_group(answer, top_k, min_similarity) for answer in answers]


async def _nearest(ask: Ask, top_k: int, min_similarity: float, most: int) -> list[tuple[Neighbour, ...]]:
    limit = min(top_k * ROWS_PER_ITEM, most)
    while True:
        answers = await ask(limit)
        hits = [_group(answer, top_k, min_similarity) for answer in answers]
        short = any(
            len(found) < top_k and len(answer) == limit and answer.similarities[-1] >= min_similarity
            for found, answer in zip(hits, answers, strict=True)
        )
        if not short or limit == most:
            return hits
        limit = min(limit * ROWS_PER_ITEM, most)


async def _candidates(ask: Ask, top_k: int, most: int) -> list[Neighbours]:
    """Rows of at least `top_k` items, where there are so many."""
    limit = min(max(top_k * CANDIDATES_PER_ITEM, LEAST_CANDIDATES), most)
    while True:
        answers = await ask(limit)
        short = any(len(answer) == limit and len(set(answer.item_ids)) < top_k for answer in answers)
        if not short or limit == most:
            return answers
        limit = min(limit * ROWS_PER_ITEM, most)


def _group(answer: Neighbours, top_k: int, min_similarity: float) -> tuple[Neighbour, ...]:
    best: dict[str, int] = {}
    for number, (item_id, similarity) in enumerate(zip(answer.item_ids, answer.similarities, strict=True)):
        if len(best) == top_k or similarity < min_similarity:
            break
        best.setdefault(item_id, number)
    return tuple(map(answer.row, best.values()))
