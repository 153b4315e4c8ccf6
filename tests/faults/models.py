"""Models that cost next to nothing, whose vectors tell pictures apart: a crop's vector is some of its pixels."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from semblance.benchmarks import null_models
from semblance.export import manifest, repository
from semblance.export.contract import (
    DETECTOR,
    EMBEDDER,
    IR_VERSION,
    MODEL_FILE,
    OPSET,
    Contract,
    embedder_of,
)

# Every eighth pixel of every eighth row: 28 * 28 * 3 numbers, of which the vector takes the first. The next embedder's
# vectors have other pixels, and are shorter.
STEP, NEXT_STEP = 8, 64
NEXT_EMBEDDER = embedder_of(24)
# What the next detector sees besides.
NEXT_BOXES = (*null_models.BOXES, (128.0, 100.0, 512.0, 300.0, 0.7, 0.0))


def publish(folder: Path) -> None:
    """Publishes both into a model repository. The detector sees two objects in every picture."""
    _publish(folder, null_models.BOXES, EMBEDDER, STEP)


def publish_next(folder: Path) -> None:
    """Publishes version 2 of both. The detector sees three objects; the embedder is in a folder beside the first."""
    _publish(folder, NEXT_BOXES, NEXT_EMBEDDER, NEXT_STEP)


def _publish(folder: Path, boxes: Sequence[Sequence[float]], embedder: Contract, step: int) -> None:
    detections = np.zeros(DETECTOR.output.dims, np.float32)
    detections[: len(boxes)] = boxes
    with tempfile.TemporaryDirectory(prefix="semblance-faults-") as made:
        package = Path(made)
        null_models.write(package, DETECTOR, detections)
        repository.publish(package, folder)
        null_models.write(package, embedder, np.ones(embedder.output.dims, np.float32))
        (package / MODEL_FILE).write_bytes(_embedder(embedder, step).SerializeToString(deterministic=True))
        described = manifest.read(package)
        described.model_file.CopyFrom(manifest.file_entry(package / MODEL_FILE))
        manifest.write(described, package)
        repository.publish(package, folder)


def _embedder(contract: Contract, step: int) -> onnx.ModelProto:
    (source, result), (dimension,) = (contract.input, contract.output), contract.output.dims
    constants = {
        "starts": np.array([0, 0]),
        "ends": np.array(source.dims[:2]),
        "axes": np.array([1, 2]),
        "steps": np.array([step, step]),
        "grey": np.array(127.5, np.float32),
        "zero": np.array([0]),
        "dimension": np.array([dimension]),
        "one": np.array([1]),
    }
    nodes = [
        helper.make_node("Slice", [source.name, "starts", "ends", "axes", "steps"], ["some"]),
        helper.make_node("Cast", ["some"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["numbers", "grey"], ["centred"]),
        helper.make_node("Flatten", ["centred"], ["flat"], axis=1),
        helper.make_node("Slice", ["flat", "zero", "dimension", "one"], ["vector"]),
        helper.make_node("LpNormalization", ["vector"], [result.name], axis=1, p=2),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "pixels as a vector",
            [helper.make_tensor_value_info(source.name, TensorProto.UINT8, ["batch", *source.dims])],
            [helper.make_tensor_value_info(result.name, TensorProto.FLOAT, ["batch", dimension])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    model.ir_version = IR_VERSION
    return model
