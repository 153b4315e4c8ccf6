"""Graphs as TensorRT takes them, computed by ONNX's reference implementation."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from semblance.export import graph, nms, tensorrt
from semblance.export.contract import EMBEDDER, IR_VERSION, OPSET
from semblance.export.errors import ContractError
from tests.unit.export import graphs

CLASSES, CANDIDATES = 80, 120
FP16_MAX = 65504


def detector() -> onnx.ModelProto:
    """Pixels are the candidates: four numbers of a box, and a score of each class."""
    rows = 4 + CLASSES
    built = helper.make_graph(
        [
            helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 2, 1]),
            helper.make_node("Cast", ["planes"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("Split", ["numbers", "parts"], ["box_rows", "levels"], axis=1),
            helper.make_node("Mul", ["box_rows", "pixels"], ["scaled"]),
            helper.make_node("Transpose", ["scaled"], ["boxes"], perm=[0, 2, 1]),
            helper.make_node("Div", ["levels", "full"], ["scores"]),
        ],
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", CANDIDATES, rows])],
        [],
        [
            helper.make_tensor("parts", TensorProto.INT64, [2], [4, CLASSES]),
            helper.make_tensor("pixels", TensorProto.FLOAT, [], [2.5]),
            helper.make_tensor("full", TensorProto.FLOAT, [], [255.0]),
        ],
    )
    nms.append_nms(built, "boxes", "scores", score_threshold=0.3, iou_threshold=0.5)
    return helper.make_model(built, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def candidates(batch: int) -> np.ndarray:
    random = np.random.default_rng(batch)
    corners = random.integers(0, 120, (batch, CANDIDATES, 2))
    boxes = np.concatenate([corners, corners + random.integers(20, 130, (batch, CANDIDATES, 2))], axis=2)
    # Few classes have most of the boxes, so that these overlap; of some boxes two classes have the same, best score.
    scores = (random.uniform(0, 1, (batch, CANDIDATES, CLASSES)) ** 40 * 255).astype(int)
    scores[:, ::3, 78] = scores[:, ::3].max(axis=2)
    scores[:, ::3, 79] = scores[:, ::3, 78]
    return np.concatenate([boxes, scores], axis=2).astype(np.uint8)


@pytest.mark.parametrize("batch", [1, 3])
def test_suppression_by_class_keeps_what_moved_boxes_kept(batch: int) -> None:
    model = detector()
    adapted = tensorrt.adapt(model, CLASSES)
    onnx.checker.check_model(adapted, full_check=True)
    expected = graphs.evaluate(model, image=candidates(batch))
    assert (expected[:, :, 4] > 0).sum(axis=1).min() > 20
    assert len(np.unique(expected[:, :, 5])) > 5
    np.testing.assert_array_equal(graphs.evaluate(adapted, image=candidates(batch)), expected)


def test_no_number_on_the_way_is_beyond_fp16() -> None:
    def largest(model: onnx.ModelProto) -> float:
        watched = onnx.ModelProto()
        watched.CopyFrom(model)
        names = {name for node in watched.graph.node for name in node.output} - {"detections", "nms/kept"}
        watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(names))
        outputs = onnx.reference.ReferenceEvaluator(watched).run(None, {"image": candidates(1)})
        assert isinstance(outputs, list)
        return max(float(np.abs(output).max()) for output in outputs if np.size(output))

    assert largest(detector()) > FP16_MAX
    assert largest(tensorrt.adapt(detector(), CLASSES)) < FP16_MAX


def test_bytes_become_numbers_before_they_are_turned_around() -> None:
    model = graphs.embedder()
    adapted = tensorrt.adapt(model)
    graph.check(adapted, EMBEDDER)
    readers = [node.op_type for node in adapted.graph.node if "crop" in node.input]
    assert readers == ["Cast"]
    crop = np.random.default_rng(3).integers(0, 256, (2, *EMBEDDER.input.dims), np.uint8)
    np.testing.assert_array_equal(graphs.evaluate(adapted, crop=crop), graphs.evaluate(model, crop=crop))
    assert tensorrt.adapt(adapted) == adapted


def test_another_graph_is_refused() -> None:
    model = graphs.embedder()
    model.graph.node[0].op_type = "Identity"
    del model.graph.node[0].attribute[:]
    with pytest.raises(ContractError, match="the graph begins with Identity of crop; expected a cast"):
        tensorrt.adapt(model)
    model = detector()
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [name.replace("nms/boxes_by_class", "moved") for name in names]
    with pytest.raises(ContractError, match="suppression is not the one that `semblance export` appends"):
        tensorrt.adapt(model, CLASSES)
