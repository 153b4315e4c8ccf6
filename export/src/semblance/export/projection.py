"""Fewer numbers a vector: principal components, as one matrix product at the end of an embedder's graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from semblance.export.contract import EMBEDDER, embedder_of
from semblance.export.errors import ExportError

Vectors = NDArray[np.float32]

# torch.nn.functional.normalize's: a vector of zeros stays one.
LEAST_LENGTH = 1e-12


@dataclass(frozen=True)
class Projection:
    """`x @ matrix + bias`, L2-normalised. `matrix`: FP32 [from,to]; `bias`: FP32 [to], minus the projected mean.

    `explained_variance`: the share of the variance that the components keep.
    """

    matrix: Vectors
    bias: Vectors
    is_whitened: bool
    explained_variance: float

    def apply(self, vectors: Vectors) -> Vectors:
        """FP32 [N,from] to FP32 [N,to]."""
        projected = vectors @ self.matrix + self.bias
        length: Vectors = np.linalg.norm(projected, axis=1, keepdims=True).clip(min=LEAST_LENGTH)
        return projected / length


def fit(vectors: Vectors, size: int, *, whiten: bool) -> Projection:
    """The `size` first principal components of L2-normalised vectors [N,dim].

    With `whiten` each is divided by its deviation (Jégou and Chum, "Negative evidences and co-occurences in image
    retrieval: the benefit of PCA and whitening", 2012): directions in which many pictures differ count no more than
    others.

    Raises:
        ExportError: `size` is not smaller than the vectors, or they are too few to have as many components.
    """
    count, dims = vectors.shape
    if size >= dims:
        raise ExportError(f"the embedder gives {dims} numbers; --project needs fewer than that, not {size}")
    if size >= count:
        raise ExportError(
            f"--project {size} is learnt from more than {size} pictures, and half of the calibration folder is "
            f"{count}: the other half judges. Add pictures to the folder, or project to fewer numbers."
        )
    mean = vectors.mean(axis=0, dtype=np.float64)
    variances, components = np.linalg.eigh(np.cov(vectors, rowvar=False, dtype=np.float64))
    best = np.argsort(variances)[::-1][:size]
    matrix = components[:, best]
    if whiten:
        matrix = matrix / np.sqrt(variances[best])
    return Projection(
        matrix.astype(np.float32),
        (-mean @ matrix).astype(np.float32),
        whiten,
        float(variances[best].sum() / variances.sum()),
    )


def append(model: onnx.ModelProto, projection: Projection) -> onnx.ModelProto:
    """A copy of an embedder's graph whose output is projected."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    output = EMBEDDER.output.name
    for last in graph.node:
        last.output[:] = ["projection/vector" if name == output else name for name in last.output]
    constants = {
        "projection/matrix": projection.matrix,
        "projection/bias": projection.bias,
        "projection/least_length": np.array(LEAST_LENGTH, np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    node = helper.make_node
    graph.node.extend(
        [
            node("Gemm", ["projection/vector", "projection/matrix", "projection/bias"], ["projection/projected"]),
            node("ReduceL2", ["projection/projected"], ["projection/raw_length"], axes=[1], keepdims=1),
            node("Max", ["projection/raw_length", "projection/least_length"], ["projection/length"]),
            node("Div", ["projection/projected", "projection/length"], [output]),
        ]
    )
    contract = embedder_of(projection.bias.size)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, ["batch", *contract.output.dims]))
    return copy
