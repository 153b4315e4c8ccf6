"""Golden pictures: some of those that the gate looked at, and what the exported graph answers to them.

They are published beside the model, so that whoever serves it can see whether it still answers so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from semblance.export.contract import Contract
from semblance.export.session import Progress, answers

COUNTS = {"detector": 2, "embedder": 4}

# Pictures among which those are looked for on which a detector is surest.
LOOKED_AT = 16


@dataclass(frozen=True)
class Golden:
    """`inputs`: UINT8 [N,…] as the contract says; `outputs`: FP32 [N,…]."""

    inputs: NDArray[np.uint8]
    outputs: NDArray[np.float32]

    def write(self, path: Path) -> None:
        """The same arrays give the same bytes."""
        np.savez_compressed(path, inputs=self.inputs, outputs=self.outputs)


def record(model: onnx.ModelProto, contract: Contract, pixels: NDArray[np.uint8], progress: Progress) -> Golden:
    """A graph's answers to the first pictures, each alone; a detector's to those with its best scores."""
    count = COUNTS[contract.model]
    some = pixels[: LOOKED_AT if contract.model == "detector" else count]
    outputs = answers(model, some, 1, progress, "golden pictures")
    if contract.model == "detector":
        best = np.argsort(-outputs[:, 0, 4], kind="stable")[:count]
        some, outputs = some[best], outputs[best]
    return Golden(some, outputs)
