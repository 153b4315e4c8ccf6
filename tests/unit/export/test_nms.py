"""The suppression in the graph against a plain one, computed by ONNX's own reference implementation."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from semblance.export import boxes, nms
from semblance.export.contract import IR_VERSION, OPSET
from tests.unit.export import graphs

CLASSES, CANDIDATES = 5, 160
SCORE, IOU = 0.3, 0.5


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    inputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", CANDIDATES, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", CLASSES, CANDIDATES]),
    ]
    built = helper.make_graph([], "suppression", inputs, [])
    nms.append_nms(built, "boxes", "scores", score_threshold=SCORE, iou_threshold=IOU)
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def plain(candidates: NDArray[np.float32], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """One image, one class and one box at a time. candidates [N,4], scores [classes,N]; rows [100,6]."""
    best, kind = scores.max(axis=0), scores.argmax(axis=0)
    rows = np.column_stack([candidates, best, kind]).astype(np.float32)
    kept: list[NDArray[np.float32]] = []
    for row in rows[np.argsort(-best, kind="stable")]:
        rivals = [other for other in kept if other[5] == row[5] and boxes.iou(other[None], row[None])[0, 0] > IOU]
        if row[4] > SCORE and not rivals:
            kept.append(row)
    result = np.zeros((100, 6), np.float32)
    if kept:
        result[: len(kept)] = kept[:100]
    return result


def candidates(random: np.random.Generator, batch: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    corners = random.uniform(0, 90, (batch, CANDIDATES, 2))
    sides = random.uniform(40, 160, (batch, CANDIDATES, 2))
    scores = random.uniform(0, 1, (batch, CLASSES, CANDIDATES)) ** 3
    return np.concatenate([corners, corners + sides], axis=2).astype(np.float32), scores.astype(np.float32)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_every_image_of_a_batch_is_suppressed_as_if_alone(graph: onnx.ModelProto, batch: int) -> None:
    rectangles, scores = candidates(np.random.default_rng(batch), batch)
    found = graphs.evaluate(graph, boxes=rectangles, scores=scores)
    assert found.shape == (batch, 100, 6)
    for image in range(batch):
        expected = plain(rectangles[image], scores[image])
        assert 10 < (expected[:, 4] > 0).sum() < 100
        np.testing.assert_array_equal(found[image], expected)


def test_an_image_without_detections_gets_zeros_beside_one_with_some(graph: onnx.ModelProto) -> None:
    rectangles, scores = candidates(np.random.default_rng(0), 2)
    scores[0] *= SCORE
    found = graphs.evaluate(graph, boxes=rectangles, scores=scores)
    assert not found[0].any()
    np.testing.assert_array_equal(found[1], plain(rectangles[1], scores[1]))


def test_more_than_a_hundred_are_cut_to_the_best(graph: onnx.ModelProto) -> None:
    random = np.random.default_rng(1)
    _, scores = candidates(random, 1)
    scores = scores * 0.5 + 0.5
    corners = np.stack([np.arange(CANDIDATES) * 20, np.zeros(CANDIDATES)], axis=1)[None]
    apart = np.concatenate([corners, corners + 10], axis=2).astype(np.float32)
    found = graphs.evaluate(graph, boxes=apart, scores=scores)[0]
    np.testing.assert_array_equal(found[:, 4], np.sort(scores[0].max(axis=0))[::-1][:100])
