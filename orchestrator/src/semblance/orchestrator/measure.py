"""How alike two embeddings are, as a similarity: more is more alike.

Embeddings have length 1. A distance is told as 1 less its share of the greatest that two vectors of length 1 can have:
1 is the same vector, and a similarity means the same whatever the number n of numbers in a vector is.

    cosine           q·x / (|q| |x|)                     -1 to 1
    inner_product    q·x                                 -1 to 1
    l2               1 - |q - x| / 2                      0 to 1
    manhattan        1 - Σ|qᵢ - xᵢ| / (2 √n)              0 to 1
    hamming          share of i where qᵢ > 0 is xᵢ > 0    0 to 1

Two opposite vectors are 2 apart by L2, and 2 √n by Manhattan where all their numbers are as large: Σ|vᵢ| is at most
√n |v|, by Cauchy and Schwarz. With length 1, |q - x|² is 2 - 2 q·x: the first three put vectors in the same order.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Measure(StrEnum):
    COSINE = "cosine"
    INNER_PRODUCT = "inner_product"
    L2 = "l2"
    MANHATTAN = "manhattan"
    # Of the bits that say which numbers are greater than 0.
    HAMMING = "hamming"

    @property
    def least(self) -> float:
        """The least similarity there is; the greatest is 1."""
        return -1.0 if self in (Measure.COSINE, Measure.INNER_PRODUCT) else 0.0


METRICS = (Measure.COSINE, Measure.INNER_PRODUCT, Measure.L2)
"""Those that an index can find the nearest by."""

# The greatest Euclidean distance of two vectors of length 1.
DIAMETER = 2.0


def similarities(measure: Measure, query: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [N]: of `query`, float32 [n], and each of `rows`, float32 [N, n]."""
    match measure:
        case Measure.COSINE:
            found = rows @ query / (np.linalg.norm(rows, axis=1) * np.linalg.norm(query))
        case Measure.INNER_PRODUCT:
            found = rows @ query
        case Measure.L2:
            found = l2_similarities(np.square(rows - query).sum(axis=1))
        case Measure.MANHATTAN:
            found = 1 - np.abs(rows - query).sum(axis=1) / (DIAMETER * np.sqrt(query.size))
        case Measure.HAMMING:
            found = ((rows > 0) == (query > 0)).mean(axis=1)
    return np.asarray(found, np.float32)


def l2_similarities(squares: NDArray[np.float32]) -> NDArray[np.float32]:
    """From squared distances, which may be a little below 0 for want of precision."""
    return np.asarray(1 - np.sqrt(np.maximum(squares, 0)) / DIAMETER, np.float32)
