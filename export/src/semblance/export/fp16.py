"""A network's layers in half precision, for GPUs. Pixels come as UINT8 and answers go as FP32, as ever.

ONNX Runtime has a converter of its own, which rounds every tensor of the graph to fp16, those between nodes that stay
in fp32 too. A coordinate near 640 then moves by up to a quarter of a pixel, and one that the suppression's class
offsets moved by several. This one rounds only what the chosen nodes read and give.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from semblance.export.contract import MODEL_FILE
from semblance.export.errors import GateFailed

# Inputs that the operator's definition fixes to fp32: Resize's region and scales.
FIXED_INPUTS = {"Resize": (1, 2)}

# The type that they give is an attribute.
TYPED = {"Cast", "Constant", "ConstantOfShape"}

LOAD = "import sys, onnxruntime; onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"
LOAD_SECONDS = 120


def check_loads(model: onnx.ModelProto) -> None:
    """Loads a graph in a process of its own: a defect of ONNX Runtime's CPU provider crashes whoever loads some.

    Seen in 1.24 and 1.32: its fusion of shared fp16 constants, at the level that servers use, ends in a segmentation
    fault on torchvision's vit_b_16. Triton on a CPU would end so too.

    Raises:
        GateFailed: the process crashed, or did not come to an end in two minutes.
    """
    with tempfile.TemporaryDirectory(prefix="semblance-fp16-") as folder:
        file = Path(folder) / MODEL_FILE
        onnx.save(model, file)
        try:
            command = [sys.executable, "-c", LOAD, str(file)]
            ended = subprocess.run(command, capture_output=True, timeout=LOAD_SECONDS, check=False).returncode
        except subprocess.TimeoutExpired:
            ended = None
    if ended != 0:
        how = f"did not load it in {LOAD_SECONDS} s" if ended is None else f"ended with {ended}"
        raise GateFailed(
            f"ONNX Runtime's CPU provider can't load this network in fp16: a process that tried {how}. It has a defect "
            "on some transformers, and would end a Triton on a CPU so. Serve the network in fp32; --project works."
        )


def halve(model: onnx.ModelProto, nodes: Collection[str]) -> onnx.ModelProto:
    """A copy of a graph in which the nodes named compute in fp16, with a cast wherever fp32 begins or ends.

    On ONNX Runtime's CPU provider most operators have no fp16 kernel: they compute in fp32 and round what they give.
    """
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = *graph.input, *graph.value_info, *graph.output
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    floats |= {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    reduced = set(nodes)
    halved = _Halved(model)
    for node in model.graph.node:
        if node.name in reduced and node.op_type not in TYPED:
            fixed = FIXED_INPUTS.get(node.op_type, ())
            inputs = [
                halved.half(name) if name in floats and place not in fixed else halved.full(name)
                for place, name in enumerate(node.input)
            ]
            outputs = [_half(name) if name in floats else name for name in node.output]
        else:
            inputs, outputs = [halved.full(name) for name in node.input], list(node.output)
        halved.append(node, inputs, outputs)
    return halved.finished()


def _half(name: str) -> str:
    return f"{name}/fp16"


class _Halved:
    """A graph in the making. A tensor `x` may have a twin `x/fp16`; either comes from the other where it is missing."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        del self._model.graph.node[:], self._model.graph.value_info[:]
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._there = {*self._weights, *(value.name for value in model.graph.input), ""}

    def half(self, name: str) -> str:
        twin = _half(name)
        if twin not in self._there and name in self._weights:
            rounded = numpy_helper.to_array(self._weights[name]).astype(np.float16)
            self._model.graph.initializer.append(numpy_helper.from_array(rounded, twin))
            self._there.add(twin)
        return self._cast(name, twin, TensorProto.FLOAT16)

    def full(self, name: str) -> str:
        return self._cast(_half(name), name, TensorProto.FLOAT)

    def append(self, node: onnx.NodeProto, inputs: list[str], outputs: list[str]) -> None:
        added = self._model.graph.node.add()
        added.CopyFrom(node)
        added.input[:], added.output[:] = inputs, outputs
        self._there.update(outputs)

    def finished(self) -> onnx.ModelProto:
        graph = self._model.graph
        for output in graph.output:
            self.full(output.name)
        read = {name for node in graph.node for name in node.input}
        used = [tensor for tensor in graph.initializer if tensor.name in read]
        del graph.initializer[:]
        graph.initializer.extend(used)
        return self._model

    def _cast(self, source: str, target: str, data_type: int) -> str:
        if target not in self._there:
            self._model.graph.node.append(helper.make_node("Cast", [source], [target], to=data_type))
            self._there.add(target)
        return target
