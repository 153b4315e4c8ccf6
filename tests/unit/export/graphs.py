"""Tiny graphs that meet the contracts, and exported folders of them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from semblance.export import manifest
from semblance.export.contract import (
    DETECTOR,
    EMBEDDER,
    ENGINE_FILE,
    GOLDEN_FILE,
    IR_VERSION,
    MODEL_FILE,
    OPSET,
    Contract,
)
from semblance.v1.manifest_pb2 import Manifest


def embedder(seed: int = 0, contract: Contract = EMBEDDER) -> onnx.ModelProto:
    """Averages 56x56 blocks, one convolution, and the average of its places, normalised."""
    weights = np.random.default_rng(seed).normal(size=(*contract.output.dims, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["crop"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("AveragePool", ["pixels"], ["blocks"], kernel_shape=[56, 56], strides=[56, 56]),
        helper.make_node("Conv", ["blocks", "weights"], ["features"], name="/trunk/conv/Conv"),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["vector"]),
        helper.make_node("LpNormalization", ["vector"], ["embedding"], axis=1, p=2),
    ]
    return _model(contract, nodes, {"weights": weights})


def detector() -> onnx.ModelProto:
    """Finds nothing in any image."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("ReduceMean", ["means"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Reshape", ["mean", "column"], ["scalar"]),
        helper.make_node("Mul", ["scalar", "nothing"], ["detections"]),
    ]
    zeros = np.zeros((1, 100, 6), np.float32)
    return _model(DETECTOR, nodes, {"column": np.array([-1, 1, 1]), "nothing": zeros})


def _model(contract: Contract, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        contract.model,
        [helper.make_tensor_value_info(contract.input.name, TensorProto.UINT8, ["batch", *contract.input.dims])],
        [helper.make_tensor_value_info(contract.output.name, TensorProto.FLOAT, ["batch", *contract.output.dims])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def evaluate(model: onnx.ModelProto, **inputs: NDArray[Any]) -> NDArray[np.float32]:
    """A graph's one output, by ONNX's reference implementation."""
    outputs = ReferenceEvaluator(model).run(None, inputs)
    assert isinstance(outputs, list)
    return np.asarray(outputs[0])


L4 = Manifest.Gpu(name="NVIDIA L4", tensorrt="10.4.0")


def exported(
    folder: Path,
    contract: Contract,
    model: onnx.ModelProto,
    max_batch_size: int = 4,
    golden: bool = False,
    precision: str = "fp32",
    gpu: Manifest.Gpu | None = None,
) -> Path:
    """The folder, as `semblance export --output` writes it, with golden pictures or as it was before there were any."""
    folder.mkdir(parents=True)
    onnx.save(model, folder / MODEL_FILE)
    described = Manifest(
        model=contract.model,
        input=manifest.tensor_entry(contract.input),
        output=manifest.tensor_entry(contract.output),
        max_batch_size=max_batch_size,
        model_file=manifest.file_entry(folder / MODEL_FILE),
        precision=precision,
        gpu=gpu,
        source=Manifest.Source(weights="drawn by a test", sha256="0" * 64),
        parity=Manifest.Parity(batch_sizes=[1], images=1, figures={"min_cosine": 1.0}),
    )
    if golden:
        crops = np.random.default_rng(5).integers(0, 256, (2, *contract.input.dims), np.uint8)
        np.savez_compressed(folder / GOLDEN_FILE, inputs=crops, outputs=np.ones((2, *contract.output.dims), np.float32))
        described.golden_file.CopyFrom(manifest.file_entry(folder / GOLDEN_FILE))
    manifest.write(described, folder)
    return folder


def built(exported: Path) -> Path:
    """The folder of a graph for a GPU, with some bytes in the place of an engine that was built of it."""
    (exported / ENGINE_FILE).write_bytes(b"an engine")
    described = manifest.read(exported)
    described.gpu.onnx_file.CopyFrom(described.model_file)
    described.model_file.CopyFrom(manifest.file_entry(exported / ENGINE_FILE))
    manifest.write(described, exported)
    return exported
