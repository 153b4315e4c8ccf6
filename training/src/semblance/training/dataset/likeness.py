"""Which photos are the same, or nearly: by the distance of their perceptual hashes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from semblance.training.dataset.photo import Photo

MAX_DISTANCE = 48
"""Bits of 256 in which two photos that are alike may differ.

Of 200 drawn scenes, versions that were halved, blurred, recompressed, brightened, turned by a degree or cropped by
2 % a side differed in 44 at most; different scenes in 92 at least.
"""


def alike(photos: Sequence[Photo]) -> list[tuple[int, ...]]:
    """Groups of photos that are joined by likeness, by their places in the sequence; others are in none."""
    if not photos:
        return []
    looks = np.stack([photo.look for photo in photos]).view(np.uint64)
    pairs: list[tuple[int, int]] = []
    for first in range(len(looks) - 1):
        distances = np.bitwise_count(looks[first + 1 :] ^ looks[first]).sum(axis=1, dtype=np.int64)
        pairs += [(first, first + 1 + int(other)) for other in np.flatnonzero(distances <= MAX_DISTANCE)]
    return [group for group in joined(len(photos), pairs) if len(group) > 1]


def joined(count: int, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """The connected components of `count` things of which these pairs are joined, by their first members."""
    edges = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = {}
    for index, label in enumerate(labels.tolist()):
        groups.setdefault(label, []).append(index)
    return [tuple(group) for group in groups.values()]
