"""PyTorch module to ONNX graph, with the names, types and static dimensions of a contract."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx
import torch
from onnx import TensorProto, helper

from semblance.export.contract import IR_VERSION, OPSET, Contract
from semblance.export.errors import WeightsError, summary


def trace(module: torch.nn.Module, contract: Contract, output_names: Sequence[str]) -> onnx.ModelProto:
    """The graph of a module that takes the contract's input, UINT8 [B,…], with a dynamic batch.

    Raises:
        WeightsError: it can't be traced, or uses an operation that the opset lacks.
    """
    example = torch.zeros((2, *contract.input.dims), dtype=torch.uint8)
    names = [contract.input.name, *output_names]
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad(), _plain_attention():
        # The TorchScript exporter writes opset 17, which the oldest runtime we serve on reads; torch.export's does not.
        warnings.simplefilter("ignore")
        # Of a refused network it prints the graph, screens before the error. There is no public switch.
        torch._C._jit_set_onnx_log_enabled(False)
        try:
            torch.onnx.export(
                module,
                (example,),
                file,
                dynamo=False,
                opset_version=OPSET,
                input_names=names[:1],
                output_names=names[1:],
                dynamic_axes={name: {0: "batch"} for name in names},
            )
        except Exception as error:  # the network's own code, which meets traced tensors here, raises what it likes
            raise WeightsError(
                f"the network can't be traced to ONNX opset {OPSET}: {summary(error)}. Write that step with other "
                "operations; which ones there are is in torch.onnx's list for its TorchScript exporter."
            ) from error
    model = onnx.load_from_string(file.getvalue())
    model.ir_version = IR_VERSION
    return model


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention in single operations: the fused one of evaluation mode, PyTorch's fast path, is not in ONNX."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def declare_output(model: onnx.ModelProto, contract: Contract) -> None:
    """Declares the contract's output as the only one. Its last dimensions are static: Triton's C++ backend refuses
    a symbolic dimension where the configuration names a number."""
    output = contract.output
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, ["batch", *output.dims]))
