"""A linear map behind a network, after which what tells items apart counts more than what makes crops of one differ.

Within-class covariance normalisation (Hatch, Kajarekar and Stolcke, "Within-class covariance normalization for
SVM-based speaker recognition", Interspeech 2006): vectors are taken about their mean, and divided along each axis by
how far the vectors of one item spread along it. It has a closed form, needs two crops of an item and not many, and does
not learn items by heart, which gradient descent on as few crops soon does.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

RIDGE = 0.03
"""Added to each axis' variance, as a share of their mean: fewer crops than axes leave some with none."""


class Head(torch.nn.Module):  # type: ignore[misc]  # the checks run without torch
    """FP32 [B,dim] vectors of any length to FP32 [B,dim]."""

    def __init__(self, matrix: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """Args: matrix: FP32 [dim,dim], to multiply from the right. bias: FP32 [dim]."""
        super().__init__()
        self.weight = torch.nn.Parameter(torch.from_numpy(matrix.T.copy()), requires_grad=False)
        self.bias = torch.nn.Parameter(torch.from_numpy(bias), requires_grad=False)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        unit = torch.nn.functional.normalize(vectors)
        return torch.nn.functional.linear(unit, self.weight, self.bias)

    def apply_to(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """FP32 [N,dim], L2-normalised, of vectors that a network gave."""
        with torch.no_grad():
            return np.asarray(torch.nn.functional.normalize(self(torch.from_numpy(vectors))), np.float32)


class Headed(torch.nn.Module):  # type: ignore[misc]  # the checks run without torch
    """A network with a head: what the network takes to what the head gives."""

    def __init__(self, trunk: torch.nn.Module, head: Head) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.head(self.trunk(pixels))
        return vectors


def fit(vectors: NDArray[np.float32], items: NDArray[np.int64]) -> Head:
    """The head for crops of known items.

    Args:
        vectors: FP32 [N,dim], L2-normalised; of some item there are two or more.
        items: INT64 [N], the number of each one's item, from 0.
    """
    precise = vectors.astype(np.float64)
    sums = np.zeros((items.max() + 1, precise.shape[1]))
    np.add.at(sums, items, precise)
    within = precise - (sums / np.bincount(items).clip(min=1)[:, None])[items]
    moments, axes = np.linalg.eigh(within.T @ within / len(within))
    matrix = axes / np.sqrt(moments.clip(min=0) + RIDGE * moments.mean())
    return Head(matrix.astype(np.float32), (-precise.mean(axis=0) @ matrix).astype(np.float32))
