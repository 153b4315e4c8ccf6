"""Half precision where it was asked for, and nowhere else."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from semblance.export import blocks, fp16, graph
from semblance.export.contract import EMBEDDER, IR_VERSION, OPSET
from tests.unit.export import graphs


def modelled(
    nodes: list[onnx.NodeProto], value: list[onnx.ValueInfoProto], constant: onnx.TensorProto
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "graph", value[:1], value[1:], [constant])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def test_only_the_network_is_rounded() -> None:
    model = graphs.embedder()
    nodes = [node for names in blocks.blocks_of(model, EMBEDDER).values() for node in names]
    halved = fp16.halve(model, nodes)
    graph.check(halved, EMBEDDER)
    assert [(tensor.name, tensor.data_type) for tensor in halved.graph.initializer] == [
        ("weights/fp16", TensorProto.FLOAT16)
    ]
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(halved).graph.value_info
    }
    assert {name for name, kind in types.items() if kind == TensorProto.FLOAT16} == {"blocks/fp16", "features/fp16"}
    crops = np.random.default_rng(1).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    expected, found = graphs.evaluate(model, crop=crops), graphs.evaluate(halved, crop=crops)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert np.any(found != expected)


def test_large_coordinates_between_fp32_nodes_are_not_rounded() -> None:
    """Neighbours in fp16 near 8000 are 4 apart."""
    nodes = [
        helper.make_node("Relu", ["x"], ["small"], name="/network/model.0/Relu"),
        helper.make_node("Add", ["small", "offset"], ["large"]),
        helper.make_node("Sub", ["large", "offset"], ["y"]),
    ]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    offset = numpy_helper.from_array(np.array(8000, np.float32), "offset")
    halved = fp16.halve(modelled(nodes, value, offset), ["/network/model.0/Relu"])
    onnx.checker.check_model(halved, full_check=True)
    np.testing.assert_allclose(graphs.evaluate(halved, x=np.array([11.296875], np.float32)), [11.296875], atol=1e-3)


def test_a_scale_that_must_be_fp32_stays_so() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="a"),
        helper.make_node("Resize", ["r", "", "scales"], ["y"], name="b", mode="nearest"),
    ]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, "h", "w"]) for name in ("x", "y")]
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    halved = fp16.halve(modelled(nodes, value, scales), ["a", "b"])
    onnx.checker.check_model(halved, full_check=True)
    assert halved.graph.initializer[0].data_type == TensorProto.FLOAT
    assert graphs.evaluate(halved, x=np.ones((1, 1, 2, 2), np.float32)).shape == (1, 1, 4, 4)
