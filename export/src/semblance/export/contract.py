"""The two model contracts: names, types and shapes of what Triton serves. Everything else reads them here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

ModelName = Literal["detector", "embedder"]
Precision = Literal["fp32", "fp16", "int8"]

MODEL_FILE = "model.onnx"
ENGINE_FILE = "model.plan"
MANIFEST_FILE = "manifest.json"
GOLDEN_FILE = "golden.npz"

# The newest pair that both ONNX Runtime 1.19 (NVIDIA's 24.10 container) and onnxruntime-openvino 1.24 read.
OPSET = 17
IR_VERSION = 8


@dataclass(frozen=True)
class Tensor:
    """A graph input or output. `dims` leaves out the batch, which is always the first dimension."""

    name: str
    data_type: Literal["UINT8", "FP32"]
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Contract:
    """What a model takes and gives, whatever its weights.

    `pad_value` fills what a resized picture leaves of the input: the letterbox of the detector, the square of a crop.
    """

    model: ModelName
    input: Tensor
    output: Tensor
    pad_value: int
    default_max_batch_size: int


IMAGE_SIZE = 640
MAX_DETECTIONS = 100
CROP_SIZE = 224
EMBEDDING_SIZE = 2048
# What `--project` gives where it is not told how many: docs/performance.md measures what others give.
PROJECTED_SIZE = 384

DETECTOR = Contract(
    model="detector",
    input=Tensor("image", "UINT8", (IMAGE_SIZE, IMAGE_SIZE, 3)),
    output=Tensor("detections", "FP32", (MAX_DETECTIONS, 6)),
    pad_value=114,
    default_max_batch_size=8,
)

EMBEDDER = Contract(
    model="embedder",
    input=Tensor("crop", "UINT8", (CROP_SIZE, CROP_SIZE, 3)),
    output=Tensor("embedding", "FP32", (EMBEDDING_SIZE,)),
    pad_value=114,
    default_max_batch_size=32,
)

CONTRACTS: dict[str, Contract] = {contract.model: contract for contract in (DETECTOR, EMBEDDER)}


def embedder_of(dims: int) -> Contract:
    """The contract of an embedder whose vectors have `dims` numbers."""
    return replace(EMBEDDER, output=replace(EMBEDDER.output, dims=(dims,)))
