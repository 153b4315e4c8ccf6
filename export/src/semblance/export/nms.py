"""Non-maximum suppression inside the graph, exact for every image of a batch."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from semblance.export.contract import DETECTOR, MAX_DETECTIONS

# Boxes of different classes are moved this many pixels apart, so that one suppression serves all classes.
# The figure is Ultralytics' `max_wh`: with it the same boxes are rounded alike here and there.
CLASS_OFFSET = 7680.0

# Names of the initialisers that hold the thresholds.
SCORE_THRESHOLD = "nms/score_threshold"
IOU_THRESHOLD = "nms/iou_threshold"


def append_nms(
    graph: onnx.GraphProto, boxes: str, scores: str, *, score_threshold: float, iou_threshold: float
) -> None:
    """Appends the suppression to a graph and makes `detections` its only output.

    The semantics are those of `ultralytics.utils.nms.non_max_suppression` with one label a box. ONNX's
    `NonMaxSuppression` lists what it keeps as (image, class, box) rows, as many as the data makes. Scattering their
    scores back to [B,N] and taking the best of each image makes the shape static, orders the rows, and can't mix
    images up, as reshaping the list can (ultralytics#21188).

    Args:
        graph: the detector, changed in place.
        boxes: name of a tensor FP32 [B,N,4]: x1 y1 x2 y2 in pixels.
        scores: name of a tensor FP32 [B,classes,N], each from 0 to 1.
        score_threshold: a detection's score is above it.
        iou_threshold: of two boxes of a class that overlap by more, the one with the lower score goes.
    """
    constants: dict[str, np.ndarray] = {
        SCORE_THRESHOLD: np.array([score_threshold], np.float32),
        IOU_THRESHOLD: np.array([iou_threshold], np.float32),
        "nms/limit": np.array([MAX_DETECTIONS], np.int64),
        "nms/class_offset": np.array([CLASS_OFFSET], np.float32),
        "nms/axis_1": np.array([1], np.int64),
        "nms/axis_2": np.array([2], np.int64),
        "nms/image_and_box": np.array([0, 2], np.int64),
        "nms/zero": np.array([0.0], np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    node = helper.make_node
    graph.node.extend(
        [
            node("ReduceMax", [scores], ["nms/scores"], axes=[1], keepdims=1),  # [B,1,N]
            node("ArgMax", [scores], ["nms/class_indices"], axis=1, keepdims=0),  # [B,N]
            node("Cast", ["nms/class_indices"], ["nms/classes"], to=TensorProto.FLOAT),
            node("Unsqueeze", ["nms/classes", "nms/axis_2"], ["nms/class_column"]),  # [B,N,1]
            node("Mul", ["nms/class_column", "nms/class_offset"], ["nms/offsets"]),
            node("Add", [boxes, "nms/offsets"], ["nms/boxes_by_class"]),
            node(
                "NonMaxSuppression",
                ["nms/boxes_by_class", "nms/scores", "nms/limit", IOU_THRESHOLD, SCORE_THRESHOLD],
                ["nms/kept"],  # [K,3]: image, class (always 0), box
            ),
            node("Gather", ["nms/kept", "nms/image_and_box"], ["nms/kept_places"], axis=1),  # [K,2]
            node("Squeeze", ["nms/scores", "nms/axis_1"], ["nms/score_rows"]),  # [B,N]
            node("GatherND", ["nms/score_rows", "nms/kept_places"], ["nms/kept_scores"]),  # [K]
            node("Mul", ["nms/score_rows", "nms/zero"], ["nms/nothing"]),
            node("ScatterND", ["nms/nothing", "nms/kept_places", "nms/kept_scores"], ["nms/scores_if_kept"]),
            node("TopK", ["nms/scores_if_kept", "nms/limit"], ["nms/best_scores", "nms/best"], axis=1),  # [B,100]
            node("Unsqueeze", ["nms/score_rows", "nms/axis_2"], ["nms/score_column"]),
            node("Concat", [boxes, "nms/score_column", "nms/class_column"], ["nms/candidates"], axis=2),  # [B,N,6]
            node("Unsqueeze", ["nms/best", "nms/axis_2"], ["nms/best_column"]),  # [B,100,1]
            node("GatherND", ["nms/candidates", "nms/best_column"], ["nms/detections"], batch_dims=1),  # [B,100,6]
        ]
    )
    _clear_padding(graph, "nms/detections", "nms/best_scores", "nms/zero")


def append_threshold(graph: onnx.GraphProto, detections: str, *, score_threshold: float) -> None:
    """Clears the rows that do not pass the threshold, for heads that give ordered, suppressed detections.

    Args:
        graph: the detector, changed in place; `detections` becomes its only output.
        detections: name of a tensor FP32 [B,100,6]: x1 y1 x2 y2, score, class; best first.
        score_threshold: a detection's score is above it.
    """
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([score_threshold], np.float32), SCORE_THRESHOLD),
            numpy_helper.from_array(np.array(4, np.int64), "nms/score_place"),
        ]
    )
    graph.node.append(helper.make_node("Gather", [detections, "nms/score_place"], ["nms/best_scores"], axis=2))
    _clear_padding(graph, detections, "nms/best_scores", SCORE_THRESHOLD)


def _clear_padding(graph: onnx.GraphProto, detections: str, scores: str, bound: str) -> None:
    """Zeroes the rows whose score is not above the bound, and declares the output of the contract."""
    output = DETECTOR.output
    graph.initializer.append(numpy_helper.from_array(np.array([2], np.int64), "nms/row_axis"))
    graph.node.extend(
        [
            helper.make_node("Greater", [scores, bound], ["nms/is_detection"]),
            helper.make_node("Cast", ["nms/is_detection"], ["nms/ones"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["nms/ones", "nms/row_axis"], ["nms/ones_column"]),
            helper.make_node("Mul", [detections, "nms/ones_column"], [output.name]),
        ]
    )
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, ["batch", *output.dims]))
