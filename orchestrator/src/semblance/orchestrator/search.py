"""Step 5: the catalogue items nearest to each vector."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.box import Box
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.filter import Filter
from semblance.orchestrator.item import Attributes
from semblance.orchestrator.ports import Neighbour, VectorIndex
from semblance.orchestrator.release import Release

# Rows asked for, for each item wanted: an item has as many rows as its images show objects.
ROWS_PER_ITEM = 4
# The most rows that Milvus returns for one vector (its topK limit).
MAX_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class Hit:
    """An item, with its best-matching image, the box in it, and their cosine similarity to the query, -1 to 1."""

    item_id: str
    similarity: float
    image_id: str
    box: Box
    attributes: Attributes


async def search(
    vectors: NDArray[np.float32],
    top_k: int,
    min_similarity: float,
    where: Filter | None,
    include_attributes: bool,
    release: Release,
    index: VectorIndex,
    deadline: Deadline,
) -> list[tuple[Hit, ...]]:
    """For each of `vectors`, float32 [N, dimension], up to `top_k` different items, most similar first.

    Rows are fetched in surplus and grouped by item here, because the index's own grouping loses recall after
    deletions; where too few items come out of a full answer, it asks for more.
    """
    limit = min(top_k * ROWS_PER_ITEM, MAX_ROWS)
    while True:
        answers = await index.search(release, vectors, limit, where, include_attributes, deadline.remaining())
        hits = [_group(answer, top_k, min_similarity) for answer in answers]
        short = any(
            len(found) < top_k and len(answer) == limit and answer[-1].similarity >= min_similarity
            for found, answer in zip(hits, answers, strict=True)
        )
        if not short or limit == MAX_ROWS:
            return hits
        limit = min(limit * ROWS_PER_ITEM, MAX_ROWS)


def _group(rows: Sequence[Neighbour], top_k: int, min_similarity: float) -> tuple[Hit, ...]:
    best: dict[str, Hit] = {}
    for row in rows:
        if len(best) == top_k or row.similarity < min_similarity:
            break
        if row.item_id not in best:
            best[row.item_id] = Hit(row.item_id, row.similarity, row.image_id, row.box, row.attributes)
    return tuple(best.values())
