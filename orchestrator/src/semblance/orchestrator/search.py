"""Step 5: the catalogue items nearest to each vector."""

import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import InvalidArgument
from semblance.orchestrator.filter import Filter
from semblance.orchestrator.ports import Neighbour, Neighbours, VectorIndex
from semblance.orchestrator.release import Release

# Rows asked for, for each item wanted: an item has as many rows as its images show objects.
ROWS_PER_ITEM = 4
# The most rows that Milvus returns for one vector (its topK limit).
MAX_ROWS = 16_384
# Of all vectors together: rows that are read at once, and items that may be asked for.
MAX_ROWS_TOGETHER = 200_000
MAX_HITS = 20_000


async def search(
    vectors: NDArray[np.float32],
    top_k: int,
    min_similarity: float,
    where: Filter | None,
    include_attributes: bool,
    release: Release,
    index: VectorIndex,
    deadline: Deadline,
) -> list[tuple[Neighbour, ...]]:
    """For each of `vectors`, float32 [N, dimension], up to `top_k` different items, most similar first, with the row
    of each that is the most similar.

    Rows are fetched in surplus and grouped by item here, because the index's own grouping loses recall after
    deletions; where too few items come out of a full answer, it asks for more.

    Raises InvalidArgument where all vectors together would have more than MAX_HITS items.
    """
    if top_k * len(vectors) > MAX_HITS:
        raise InvalidArgument(
            f"{len(vectors)} objects with {top_k} items each are more than the {MAX_HITS:,} items that one answer may "
            f"have; ask for at most {MAX_HITS // len(vectors)} items, or for fewer objects"
        )
    most = min(MAX_ROWS, MAX_ROWS_TOGETHER // max(1, len(vectors)))
    limit = min(top_k * ROWS_PER_ITEM, most)
    while True:
        answers = await index.search(release, vectors, limit, where, include_attributes, deadline.remaining())
        hits = [_group(answer, top_k, min_similarity) for answer in answers]
        short = any(
            len(found) < top_k and len(answer) == limit and answer.similarities[-1] >= min_similarity
            for found, answer in zip(hits, answers, strict=True)
        )
        if not short or limit == most:
            return hits
        limit = min(limit * ROWS_PER_ITEM, most)


def _group(answer: Neighbours, top_k: int, min_similarity: float) -> tuple[Neighbour, ...]:
    best: dict[str, int] = {}
    for number, (item_id, similarity) in enumerate(zip(answer.item_ids, answer.similarities, strict=True)):
        if len(best) == top_k or similarity < min_similarity:
            break
        best.setdefault(item_id, number)
    return tuple(map(answer.row, best.values()))
