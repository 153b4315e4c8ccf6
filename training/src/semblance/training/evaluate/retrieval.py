"""How far up the right item is: recall@k and the mean reciprocal rank.

An answer names different items, and one of them is right, so a query's average precision is the reciprocal of the right
item's rank: the mean reciprocal rank is the mean average precision over items, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semblance.training.evaluate.interval import Weights
from semblance.training.evaluate.sample import Answer

CUTS = (1, 5, 10)


@dataclass(frozen=True)
class Ranks:
    """Of queries. `rank`: float64 [Q], 1 for the first, infinite where it was not found; `photo`: int64 [Q], each
    query's; `photos`: how many there are."""

    rank: NDArray[np.float64]
    photo: NDArray[np.int64]
    photos: int

    @classmethod
    def of(cls, photos: int, answers: Sequence[tuple[int, Answer | None]]) -> Ranks:
        """Of answers with their photos' numbers; without an answer, as of an object that was not detected, the item was
        not found."""
        return cls(
            np.array([answer.rank if answer and answer.rank else np.inf for _, answer in answers], np.float64),
            np.array([number for number, _ in answers], np.int64),
            photos,
        )

    def figures(self, weights: Weights) -> NDArray[np.float64]:
        """Recall at each of `CUTS`, and the mean reciprocal rank, for each row of weights: float64 [rows, 4]."""
        gains = np.column_stack([*(self.rank <= cut for cut in CUTS), 1 / self.rank, np.ones(len(self.rank))])
        sums = np.zeros((self.photos, gains.shape[1]))
        np.add.at(sums, self.photo, gains)
        return shares(weights @ sums)


def shares(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """All columns but the last, over the last; NaN where that is 0: float64 [rows, columns - 1]."""
    parts, whole = totals[:, :-1], totals[:, -1:]
    result: NDArray[np.float64] = np.divide(parts, whole, out=np.full_like(parts, np.nan), where=whole > 0)
    return result
