"""A graph as TensorRT takes it: the same answers, from what TensorRT has and can compute in fp16.

- TensorRT takes bytes in, but turns nothing around before they are numbers: pixels are cast first, then transposed.
- Suppression moves boxes of different classes thousands of pixels apart, where fp16 has no pixels left and soon no
  numbers. Here each class is suppressed by itself. TensorRT in ONNX Runtime may choose fp16 for any layer.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from semblance.export.errors import ContractError

# Nodes of the suppression that `nms` appends, by what they give.
OFFSETS, MOVED = "nms/offsets", "nms/boxes_by_class"


def adapt(model: onnx.ModelProto, classes: int = 0) -> onnx.ModelProto:
    """A copy of an fp32 graph that `semblance export` traced, of a detector of so many classes.

    Raises:
        ContractError: the graph was not traced by it.
    """
    adapted = onnx.ModelProto()
    adapted.CopyFrom(model)
    _cast_first(adapted.graph)
    if any(node.op_type == "NonMaxSuppression" for node in adapted.graph.node):
        _suppress_by_class(adapted.graph, classes)
    return adapted


def _cast_first(graph: onnx.GraphProto) -> None:
    """Swaps a transposition of bytes with the cast behind it."""
    pixels = graph.input[0].name
    readers = [node for node in graph.node if pixels in node.input]
    if [node.op_type for node in readers] == ["Cast"]:
        return
    casts = [node for node in graph.node if node.op_type == "Cast" and node.input[0] == readers[0].output[0]]
    if [node.op_type for node in readers] != ["Transpose"] or len(casts) != 1:
        raise ContractError(
            f"the graph begins with {', '.join(node.op_type for node in readers)} of {pixels}; expected a cast of the "
            "pixels, before or behind a transposition. Export the weights again with `semblance export`."
        )
    transpose, cast = readers[0], casts[0]
    numbers = f"{pixels}/numbers"
    first = helper.make_node("Cast", [pixels], [numbers], name=cast.name, to=TensorProto.FLOAT)
    second = helper.make_node("Transpose", [numbers], list(cast.output), name=transpose.name)
    second.attribute.extend(transpose.attribute)
    nodes = [node for node in graph.node if node not in (transpose, cast)]
    del graph.node[:]
    graph.node.extend([first, second, *nodes])


def _suppress_by_class(graph: onnx.GraphProto, classes: int) -> None:
    """Has the suppression see each score in the row of its class and zeros in the others, in place of moved boxes.

    It keeps up to 100 of each class, and of those the best 100 are taken behind it: the same ones.
    """
    made = {name: node for node in graph.node for name in node.output}
    if not {OFFSETS, MOVED, "nms/scores", "nms/class_indices"} <= made.keys():
        raise ContractError(
            "the graph's suppression is not the one that `semblance export` appends; export the weights again"
        )
    boxes, scores = made[MOVED].input[0], made["nms/scores"].input[0]
    graph.initializer.append(numpy_helper.from_array(np.arange(classes).reshape(1, -1, 1), "nms/class_numbers"))
    rows = [
        helper.make_node("Unsqueeze", ["nms/class_indices", "nms/axis_1"], ["nms/class_row"]),  # [B,1,N]
        helper.make_node("Equal", ["nms/class_row", "nms/class_numbers"], ["nms/is_of_class"]),  # [B,classes,N]
        helper.make_node("Cast", ["nms/is_of_class"], ["nms/of_class"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [scores, "nms/of_class"], ["nms/scores_by_class"]),
    ]
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "NonMaxSuppression":
            node.input[:2] = [boxes, "nms/scores_by_class"]
            nodes += rows
        if node.output[0] not in (OFFSETS, MOVED):
            nodes.append(node)
    constants = [tensor for tensor in graph.initializer if tensor.name != "nms/class_offset"]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
