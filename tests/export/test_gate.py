"""The gate on real networks: sound graphs pass, broken ones are refused."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from semblance.export import detector, embedder, gallery, gate, graph
from semblance.export.contract import DETECTOR, EMBEDDER
from semblance.export.errors import GateFailed

PICTURES = 3
THRESHOLDS = detector.Thresholds()


def ignore(what: str, done: int, total: int) -> None:
    """Shows no progress."""


@pytest.fixture(scope="module")
def images() -> gallery.Gallery:
    return gallery.drawn(PICTURES, 640)


@pytest.fixture(scope="module")
def crops() -> gallery.Gallery:
    return gallery.drawn(PICTURES, 224)


@pytest.fixture(scope="module")
def yolo() -> detector.Detector:
    return detector.random("yolov8n.yaml", seed=7)


@pytest.fixture(scope="module")
def yolo_graph(yolo: detector.Detector) -> onnx.ModelProto:
    return yolo.graph(THRESHOLDS, store_int8=False)


@pytest.fixture(scope="module")
def resnet() -> embedder.Embedder:
    return embedder.random(seed=7)


@pytest.fixture(scope="module")
def resnet_graph(resnet: embedder.Embedder) -> onnx.ModelProto:
    return resnet.graph(store_int8=False)


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def insert_before(model: onnx.ModelProto, name: str, nodes: Callable[[str, str], list[onnx.NodeProto]]) -> None:
    """Puts nodes between a tensor and everything that reads it."""
    changed = f"{name}/changed"
    for node in model.graph.node:
        for place, source in enumerate(node.input):
            if source == name:
                node.input[place] = changed
    rest = list(model.graph.node)
    del model.graph.node[:]
    at = next((index + 1 for index, node in enumerate(rest) if name in node.output), 0)
    model.graph.node.extend([*rest[:at], *nodes(name, changed), *rest[at:]])


def constant(model: onnx.ModelProto, name: str, value: np.ndarray) -> str:
    model.graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def swap_channels(model: onnx.ModelProto) -> None:
    order = constant(model, "order", np.array([2, 1, 0], np.int64))
    name = model.graph.input[0].name
    insert_before(model, name, lambda old, new: [helper.make_node("Gather", [old, order], [new], axis=3)])


def suppress_only_the_first_image(model: onnx.ModelProto) -> None:
    """As in ultralytics#21188: rows of other images are dropped from what the suppression keeps."""
    zero = constant(model, "first", np.array([0], np.int64))
    image = constant(model, "image_column", np.array(0, np.int64))

    def nodes(old: str, new: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("Gather", [old, image], ["images"], axis=1),
            helper.make_node("Equal", ["images", zero], ["is_first"]),
            helper.make_node("Compress", [old, "is_first"], [new], axis=0),
        ]

    insert_before(model, "nms/kept", nodes)


def reverse_batch(model: onnx.ModelProto) -> None:
    """Answers images of a batch in the wrong order."""
    slices = {"start": -1, "end": np.iinfo(np.int64).min, "axis": 0, "step": -1}
    steps = [constant(model, f"reverse/{key}", np.array([value], np.int64)) for key, value in slices.items()]
    name = model.graph.input[0].name
    insert_before(model, name, lambda old, new: [helper.make_node("Slice", [old, *steps], [new])])


def set_initialiser(name: str, value: float) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.array([value], np.float32), name))

    return change


def test_a_random_yolo_passes(yolo: detector.Detector, yolo_graph: onnx.ModelProto, images: gallery.Gallery) -> None:
    graph.check(yolo_graph, DETECTOR)
    parity = gate.check_detector(yolo, yolo_graph, images, THRESHOLDS, ignore)
    assert parity.batch_sizes == [1, 2, 3]
    assert parity.figures["min_iou"] >= 0.999
    assert parity.figures["boxes"] >= 5 * (1 + 2 + 3)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(suppress_only_the_first_image, "in a batch of 2: .* have no partner", id="first image only"),
        pytest.param(reverse_batch, "in a batch of 2", id="images mixed up"),
        pytest.param(swap_channels, "in a batch of", id="channels swapped"),
        pytest.param(set_initialiser("nms/iou_threshold", 1.0), "no partner", id="no suppression"),
        pytest.param(set_initialiser("nms/score_threshold", 0.5), "no partner", id="another threshold"),
        pytest.param(set_initialiser("nms/class_offset", 0.0), "no partner", id="suppression across classes"),
    ],
)
def test_a_broken_detector_is_refused(
    yolo: detector.Detector,
    yolo_graph: onnx.ModelProto,
    images: gallery.Gallery,
    damage: Callable[[onnx.ModelProto], None],
    reason: str,
) -> None:
    broken = copied(yolo_graph)
    damage(broken)
    with pytest.raises(GateFailed, match=reason):
        gate.check_detector(yolo, broken, images, THRESHOLDS, ignore)


def test_a_detector_that_sees_nothing_is_still_compared(
    yolo: detector.Detector, yolo_graph: onnx.ModelProto, images: gallery.Gallery
) -> None:
    blind = detector.Thresholds(score=0.9999)
    model = copied(yolo_graph)
    set_initialiser("nms/score_threshold", blind.score)(model)
    parity = gate.check_detector(yolo, model, images, blind, ignore)
    assert parity.figures["lowered_score_threshold"] < 0.9999
    assert parity.figures["boxes"] > 0
    suppress_only_the_first_image(model)
    with pytest.raises(GateFailed):
        gate.check_detector(yolo, model, images, blind, ignore)


def test_a_yolo_with_int8_weights_passes_against_its_rounded_self(
    yolo: detector.Detector, images: gallery.Gallery
) -> None:
    rounded = yolo.rounded()
    model = rounded.graph(THRESHOLDS, store_int8=True)
    assert model.ByteSize() < 3.6e6
    gate.check_detector(rounded, model, images, THRESHOLDS, ignore)
    with pytest.raises(GateFailed):
        gate.check_detector(yolo, model, images, THRESHOLDS, ignore)


@pytest.mark.parametrize("end_to_end", [False, True], ids=["with suppression", "without suppression"])
def test_both_heads_of_yolo26_pass(end_to_end: bool, images: gallery.Gallery) -> None:
    network = detector.random("yolo26n.yaml", seed=3)
    network.network.model[-1].end2end = end_to_end
    model = network.graph(THRESHOLDS, store_int8=False)
    graph.check(model, DETECTOR)
    assert ("NonMaxSuppression" in {node.op_type for node in model.graph.node}) is not end_to_end
    gate.check_detector(network, model, images, THRESHOLDS, ignore)


def test_a_random_resnet_passes(
    resnet: embedder.Embedder, resnet_graph: onnx.ModelProto, crops: gallery.Gallery
) -> None:
    graph.check(resnet_graph, EMBEDDER)
    parity = gate.check_embedder(resnet, resnet_graph, crops, gate.MIN_COSINE, ignore)
    assert parity.figures["min_cosine"] >= 0.99999


def shift_mean(model: onnx.ModelProto) -> None:
    """Subtracts five grey levels too few."""
    pixels = next(node for node in model.graph.node if node.op_type == "Sub").output[0]
    offset = constant(model, "offset", np.array(5, np.float32))
    insert_before(model, pixels, lambda old, new: [helper.make_node("Add", [old, offset], [new])])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(swap_channels, "in a batch of 1: .*cosine", id="channels swapped"),
        pytest.param(shift_mean, "in a batch of 1: .*cosine", id="wrong normalisation"),
        pytest.param(reverse_batch, "in a batch of 2: .*cosine", id="crops mixed up"),
    ],
)
def test_a_broken_embedder_is_refused(
    resnet: embedder.Embedder,
    resnet_graph: onnx.ModelProto,
    crops: gallery.Gallery,
    damage: Callable[[onnx.ModelProto], None],
    reason: str,
) -> None:
    broken = copied(resnet_graph)
    damage(broken)
    with pytest.raises(GateFailed, match=reason):
        gate.check_embedder(resnet, broken, crops, gate.MIN_COSINE, ignore)


def test_pictures_that_a_network_can_not_tell_apart_prove_nothing(
    resnet: embedder.Embedder, resnet_graph: onnx.ModelProto, crops: gallery.Gallery
) -> None:
    twins = gallery.Gallery(("one", "other"), np.stack([crops.pixels[0]] * 2))
    with pytest.raises(GateFailed, match="one and other"):
        gate.check_embedder(resnet, resnet_graph, twins, gate.MIN_COSINE, ignore)
