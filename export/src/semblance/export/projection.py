"""Fewer numbers a vector: principal components, as the last step of an embedder's graph."""

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
    """`x @ matrix + bias`, given length 1 by scaling all components but the first `kept`.

    Leaving out components shortens each vector by another share, and to scale the whole vector would rank those
    higher that lost more. The first components hold most of each scalar product, so they stay what they are, and the
    last ones, which then stand for all that was left out, are what is scaled.

    Attributes:
        matrix: FP32 [from,to].
        bias: FP32 [to].
        kept: fewer than `to`; 0 scales the whole vector.
        explained_variance: the share of the variance that the components keep.
    """

    matrix: Vectors
    bias: Vectors
    kept: int
    explained_variance: float

    def apply(self, vectors: Vectors) -> Vectors:
        """FP32 [N,from] of length 1 to FP32 [N,to] of length 1."""
        projected = vectors @ self.matrix + self.bias
        kept, scaled = np.split(projected, [self.kept], axis=1)
        left = np.sqrt((1 - np.square(kept).sum(axis=1, keepdims=True)).clip(min=0))
        length = np.linalg.norm(scaled, axis=1, keepdims=True).clip(min=LEAST_LENGTH)
        return np.hstack([kept, scaled / length * left])


def fit(vectors: Vectors, size: int, *, whiten: bool) -> Projection:
    """`size` principal components of vectors [N,dim] of length 1.

    They are the axes of the largest second moments about the origin, which keep scalar products best (Eckart and
    Young, "The approximation of one matrix by another of lower rank", 1936): cosines are taken from there, and a shift
    to the mean would change which vectors are near.

    With `whiten` they are those about the mean, each divided by its deviation (Jégou and Chum, "Negative evidences and
    co-occurences in image retrieval: the benefit of PCA and whitening", 2012): directions in which many pictures
    differ count no more than others, so other vectors become near.

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
    precise = vectors.astype(np.float64)
    mean = precise.mean(axis=0)
    origin = mean if whiten else np.zeros(dims)
    moments, axes = np.linalg.eigh((precise - origin).T @ (precise - origin) / count)
    matrix = axes[:, : -size - 1 : -1]
    explained = (precise @ matrix).var(axis=0).sum() / precise.var(axis=0).sum()
    if whiten:
        matrix = matrix / np.sqrt(moments[: -size - 1 : -1])
    return Projection(
        matrix.astype(np.float32),
        (-origin @ matrix).astype(np.float32),
        0 if whiten else size // 2,
        float(explained),
    )


def append(model: onnx.ModelProto, projection: Projection) -> onnx.ModelProto:
    """A copy of an embedder's graph whose output is projected."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    output = EMBEDDER.output.name
    for last in graph.node:
        last.output[:] = ["projection/vector" if name == output else name for name in last.output]
    kept, size = projection.kept, projection.bias.size
    constants = {
        "projection/matrix": projection.matrix,
        "projection/bias": projection.bias,
        "projection/least_length": np.array(LEAST_LENGTH, np.float32),
    }
    node = helper.make_node
    nodes = [node("Gemm", ["projection/vector", "projection/matrix", "projection/bias"], ["projection/projected"])]
    if kept:
        constants |= {
            "projection/sizes": np.array([kept, size - kept], np.int64),
            "projection/one": np.array(1, np.float32),
            "projection/zero": np.array(0, np.float32),
        }
        nodes += [
            node("Split", ["projection/projected", "projection/sizes"], ["projection/kept", "projection/last"], axis=1),
            *_to_length("projection/last", "projection/direction"),
            node("ReduceSumSquare", ["projection/kept"], ["projection/kept_square"], axes=[1], keepdims=1),
            node("Sub", ["projection/one", "projection/kept_square"], ["projection/raw_square"]),
            node("Max", ["projection/raw_square", "projection/zero"], ["projection/square"]),
            node("Sqrt", ["projection/square"], ["projection/left"]),
            node("Mul", ["projection/direction", "projection/left"], ["projection/scaled"]),
            node("Concat", ["projection/kept", "projection/scaled"], [output], axis=1),
        ]
    else:
        nodes += _to_length("projection/projected", output)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    graph.node.extend(nodes)
    contract = embedder_of(size)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, ["batch", *contract.output.dims]))
    return copy


def _to_length(vector: str, unit: str) -> list[onnx.NodeProto]:
    """Scales `vector` to length 1, in `unit`."""
    node = helper.make_node
    return [
        node("ReduceL2", [vector], ["projection/raw_length"], axes=[1], keepdims=1),
        node("Max", ["projection/raw_length", "projection/least_length"], ["projection/length"]),
        node("Div", [vector, "projection/length"], [unit]),
    ]
