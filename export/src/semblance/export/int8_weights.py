"""Convolution weights rounded to int8 per output channel: a quarter of the bytes on disk, fp32 arithmetic.

Symmetric: a channel's largest magnitude becomes 127, and a weight is its integer times the channel's scale. The
file holds the integers with a `DequantizeLinear` behind them. ONNX Runtime does not fold that at load and would
compute it for every request, so `expand` writes the same numbers out as fp32 when a version is published.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Weights = NDArray[np.float32]


def quantise(weights: Weights) -> tuple[NDArray[np.int8], Weights]:
    """Integers of the weights' shape [out,…], and scales [out]."""
    largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    scales = (largest / 127).astype(np.float32)
    # Of a channel of zeros, or of numbers too small to be divided.
    scales[scales == 0] = 1
    return np.rint(weights / _along_first(scales, weights.ndim)).astype(np.int8), scales


def dequantise(integers: NDArray[np.int8], scales: Weights) -> Weights:
    return integers.astype(np.float32) * _along_first(scales, integers.ndim)


def _along_first(scales: Weights, dimensions: int) -> Weights:
    return scales.reshape(-1, *[1] * (dimensions - 1))


def store(model: onnx.ModelProto) -> None:
    """Replaces the weights of the graph's convolutions by their integers, scales and a `DequantizeLinear`."""
    graph = model.graph
    kernels = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    tensors, nodes = [], []
    for tensor in graph.initializer:
        if tensor.name not in kernels:
            tensors.append(tensor)
            continue
        integers, scales = quantise(numpy_helper.to_array(tensor))
        parts = [f"{tensor.name}/int8", f"{tensor.name}/scale"]
        tensors += [numpy_helper.from_array(integers, parts[0]), numpy_helper.from_array(scales, parts[1])]
        nodes.append(helper.make_node("DequantizeLinear", parts, [tensor.name], axis=0))
    _replace(graph, tensors, [*nodes, *graph.node])


def expand(model: onnx.ModelProto) -> int:
    """Writes int8 weights out as the fp32 numbers that they stand for. Gives how many tensors that were."""
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    expanded = 0
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or not all(name in tensors for name in node.input):
            nodes.append(node)
            continue
        integers, scales = (numpy_helper.to_array(tensors.pop(name)) for name in node.input)
        tensors[node.output[0]] = numpy_helper.from_array(dequantise(integers, scales), node.output[0])
        expanded += 1
    _replace(graph, list(tensors.values()), nodes)
    return expanded


def _replace(graph: onnx.GraphProto, tensors: list[onnx.TensorProto], nodes: list[onnx.NodeProto]) -> None:
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(tensors)
    graph.node.extend(nodes)
