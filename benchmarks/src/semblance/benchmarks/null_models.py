"""Models that compute nothing: the contracts, manifests and backend of the real ones, and constant answers.

With them, everything that a request costs is overhead.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from semblance.export import manifest, repository
from semblance.export.contract import DETECTOR, EMBEDDER, IR_VERSION, MAX_DETECTIONS, MODEL_FILE, OPSET, Contract
from semblance.v1.manifest_pb2 import Manifest

# x1 y1 x2 y2 in letterbox pixels, score, class: two objects that lie within a letterboxed 4:3 photo.
BOXES = ((64.0, 128.0, 288.0, 480.0, 0.9, 0.0), (336.0, 160.0, 592.0, 512.0, 0.8, 0.0))
CLASS_NAMES = ("object",)
TOOLS = ("semblance-benchmarks", "onnx")


def publish(folder: Path) -> None:
    """Publishes both null models into a model repository."""
    for contract, answer in ((DETECTOR, _detections()), (EMBEDDER, _embedding())):
        with tempfile.TemporaryDirectory(prefix="semblance-null-") as package:
            write(Path(package), contract, answer)
            repository.publish(Path(package), folder)


def write(folder: Path, contract: Contract, answer: NDArray[np.float32]) -> None:
    """Writes a package, as `semblance export --output` does, of a model that answers every row with `answer`."""
    file = folder / MODEL_FILE
    file.write_bytes(graph(contract, answer).SerializeToString(deterministic=True))
    described = Manifest(
        model=contract.model,
        model_file=manifest.file_entry(file),
        input=manifest.tensor_entry(contract.input),
        output=manifest.tensor_entry(contract.output),
        max_batch_size=contract.default_max_batch_size,
        source=Manifest.Source(weights="constant answers", sha256=hashlib.sha256(answer.tobytes()).hexdigest()),
        class_names=CLASS_NAMES if contract is DETECTOR else (),
        pad_value=contract.pad_value,
        precision="fp32",
        weights_precision="fp32",
        opset=OPSET,
        tools=manifest.tool_versions(TOOLS),
    )
    manifest.write(described, folder)


def graph(contract: Contract, answer: NDArray[np.float32]) -> onnx.ModelProto:
    """answer: float32 of the contract's output dims; the graph repeats it for each row of the batch."""
    source, result = contract.input, contract.output
    rest = np.array(result.dims, np.int64)
    nodes = [
        helper.make_node("Shape", [source.name], ["batch"], start=0, end=1),
        helper.make_node("Concat", ["batch", "rest"], ["shape"], axis=0),
        helper.make_node("Expand", ["answer", "shape"], [result.name]),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            f"null {contract.model}",
            [helper.make_tensor_value_info(source.name, TensorProto.UINT8, ["batch", *source.dims])],
            [helper.make_tensor_value_info(result.name, TensorProto.FLOAT, ["batch", *result.dims])],
            [numpy_helper.from_array(rest, "rest"), numpy_helper.from_array(answer[None], "answer")],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    model.ir_version = IR_VERSION
    return model


def _detections() -> NDArray[np.float32]:
    rows = np.zeros((MAX_DETECTIONS, 6), np.float32)
    rows[: len(BOXES)] = BOXES
    return rows


def _embedding() -> NDArray[np.float32]:
    """A vector of length 1."""
    dimension = EMBEDDER.output.dims[0]
    return np.full(dimension, dimension**-0.5, np.float32)
