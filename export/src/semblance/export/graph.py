"""Checks that an ONNX file is a valid graph and meets its contract. Needs no PyTorch."""

from __future__ import annotations

import onnx
from onnx.external_data_helper import uses_external_data

from semblance.export.contract import MODEL_FILE, OPSET, Contract, Tensor
from semblance.export.errors import ContractError

ELEMENT_TYPES: dict[int, str] = {onnx.TensorProto.UINT8: "UINT8", onnx.TensorProto.FLOAT: "FP32"}


def check(model: onnx.ModelProto, contract: Contract) -> None:
    """Checks validity, that all weights are inside, and name, type and dimensions of the one input and the one output.

    Raises:
        ContractError: with what was found and what was expected.
    """
    outside = [tensor.name for tensor in model.graph.initializer if uses_external_data(tensor)]
    if outside:
        raise ContractError(
            f"{MODEL_FILE} keeps {len(outside)} of its weights in other files, {outside[0]} for one, which the digest "
            "of the manifest would not cover. Export the weights again, into one file."
        )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ContractError(f"{MODEL_FILE} is not a valid ONNX graph: {error}") from error
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if set(opsets) != {"ai.onnx"} or opsets["ai.onnx"] > OPSET:
        raise ContractError(
            f"{MODEL_FILE} uses the operator sets {opsets}; expected ai.onnx up to {OPSET} alone, which every runtime "
            "reads. Export the weights again."
        )
    _check_tensors("input", list(model.graph.input), contract.input)
    _check_tensors("output", list(model.graph.output), contract.output)


def _check_tensors(role: str, found: list[onnx.ValueInfoProto], expected: Tensor) -> None:
    wanted = f"{expected.name} {expected.data_type} [batch,{','.join(map(str, expected.dims))}]"
    if len(found) != 1 or _describe(found[0]) != wanted:
        names = "; ".join(map(_describe, found)) or "none"
        raise ContractError(
            f"the graph's {role} is {names}; expected {wanted}. Export the weights again with `semblance export`."
        )


def _describe(value: onnx.ValueInfoProto) -> str:
    """Name, type and dimensions; a symbolic first dimension reads `batch`, whatever it is called."""
    tensor = value.type.tensor_type
    dims = [dim.dim_param or str(dim.dim_value) if dim.WhichOneof("value") else "?" for dim in tensor.shape.dim]
    if dims and not tensor.shape.dim[0].HasField("dim_value"):
        dims[0] = "batch"
    return f"{value.name} {ELEMENT_TYPES.get(tensor.elem_type, tensor.elem_type)} [{','.join(dims)}]"
