"""Static quantisation to int8: the graph computes in integers on every backend that reads ONNX.

Activations are UINT8 with one scale a tensor, between the least and the greatest value that calibration pictures
usually have; weights are INT8 with one scale an output channel. Unsigned activations, because x86's integer dot product
(VNNI) multiplies unsigned by signed.

TensorRT multiplies signed by signed, and knows no zero but 0: for a GPU activations are INT8 between the greatest
magnitude and its negative. It wants weights in fp32 with their rounding behind them, and rounds no biases.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from semblance.export.errors import ExportError

# Kinds of nodes that have integer kernels, or only move numbers. Others (softmax, means) stay in fp32 inside a block:
# above all the mean over a picture's places, whose 2048 numbers are the vector.
OPERATORS = ("Add", "Concat", "Conv", "MaxPool", "Mul", "Relu", "Resize", "Sigmoid", "Slice", "Split")

# Ranges are the mean of those of small batches. The least and greatest values of all would be those of one odd picture,
# and every other would use half of the integers.
CALIBRATION_BATCH = 4

FOR_TENSORRT = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False, "AddQDQPairToWeight": True}

# Transformers and ConvNeXt have some hundredths of their weights in convolutions, VGG an eighth and most of its work.
LEAST_CONVOLVED = 0.1


def check_convolved(model: onnx.ModelProto) -> None:
    """Raises ExportError: convolutions hold so few of the weights that int8 would change next to nothing."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    held = {"Conv": 0, "Gemm": 0, "MatMul": 0}
    for node in model.graph.node:
        if node.op_type in held:
            held[node.op_type] += sum(sizes.get(name, 0) for name in node.input)
    share = held["Conv"] / max(sum(held.values()), 1)
    if share < LEAST_CONVOLVED:
        raise ExportError(
            f"int8 computes convolutions in integers, and they hold {share:.1%} of this network's weights (at least "
            f"{LEAST_CONVOLVED:.0%} expected): it would stay what it is. Leave it in fp32, or "
            "try --precision fp16; --project works."
        )


class Quantiser:
    """Quantises any nodes of one graph; the pictures are looked at once, whatever is then asked for."""

    def __init__(
        self, model: onnx.ModelProto, pixels: NDArray[np.uint8], folder: Path, *, for_tensorrt: bool = False
    ) -> None:
        """`pixels`: UINT8 [N,…], the graph's input. `folder` is empty, and holds the graph and the ranges found."""
        self._for_tensorrt = for_tensorrt
        self._input = model.graph.input[0].name
        self._pixels = pixels
        self._source, self._ranges, self._result = (folder / name for name in ("fp32.onnx", "ranges.json", "int8.onnx"))
        prepared = onnx.shape_inference.infer_shapes(model, data_prop=True)
        # The sign by which the library knows that what it wants done before is done: inference of shapes.
        onnx.helper.set_model_props(prepared, {"onnx.quant.pre_process": "onnxruntime.quant"})
        onnx.save(prepared, self._source)

    def quantise(self, nodes: Collection[str]) -> onnx.ModelProto:
        """A copy of the graph in which the nodes named compute in int8."""
        quantize_static(
            self._source,
            self._result,
            _Reader(self._input, self._pixels),
            calibration_cache_path=self._ranges,
            op_types_to_quantize=list(OPERATORS),
            nodes_to_quantize=list(nodes),
            per_channel=True,
            activation_type=QuantType.QInt8 if self._for_tensorrt else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"CalibMovingAverage": True} | (FOR_TENSORRT if self._for_tensorrt else {}),
        )
        quantised = onnx.load(self._result)
        del quantised.metadata_props[:], quantised.graph.value_info[:]
        return quantised


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # the checks run without onnxruntime
    def __init__(self, name: str, pixels: NDArray[np.uint8]) -> None:
        starts = range(0, len(pixels), CALIBRATION_BATCH)
        self._batches = iter([{name: pixels[start : start + CALIBRATION_BATCH]} for start in starts])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._batches, None)
