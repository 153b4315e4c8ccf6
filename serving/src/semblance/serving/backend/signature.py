"""Whether a model's inputs and outputs are what its config.pbtxt says.

The rules are those of the C++ backend (`ValidateInputs`, `ValidateOutputs` and `CompareDimsSupported` in
https://github.com/triton-inference-server/onnxruntime_backend, r24.10): a `-1` on either side of an input matches
anything, output dims must be equal, and a batching model's first dimension must be dynamic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from semblance.serving.backend.settings import ConfigError

TRITON_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
}


class NodeArg(Protocol):
    """onnxruntime.NodeArg: a symbolic dimension is its name, or None."""

    name: str
    type: str
    shape: list[int | str | None]


@dataclass(frozen=True)
class Tensor:
    """A tensor as Triton describes one: dimensions with -1 for a dynamic one."""

    name: str
    data_type: str
    dims: tuple[int, ...]

    @classmethod
    def of_model(cls, arg: NodeArg) -> "Tensor":
        if arg.type not in TRITON_TYPES:
            raise ConfigError(f"tensor {arg.name!r} of the model is a {arg.type}, which this backend does not serve")
        dims = tuple(dim if isinstance(dim, int) else -1 for dim in arg.shape)
        return cls(arg.name, TRITON_TYPES[arg.type], dims)

    @classmethod
    def of_config(cls, tensor: Mapping[str, Any], batching: bool) -> "Tensor":
        dims = tuple(int(dim) for dim in tensor["dims"])
        return cls(tensor["name"], tensor["data_type"], ((-1, *dims) if batching else dims))


def check_signature(config: Mapping[str, Any], inputs: Sequence[NodeArg], outputs: Sequence[NodeArg]) -> None:
    """Compares the configuration with the tensors of the session.

    Raises:
        ConfigError: names the tensor, what config.pbtxt says and what the model has.
    """
    batching = config["max_batch_size"] > 0
    wanted_inputs = [Tensor.of_config(tensor, batching) for tensor in config["input"]]
    wanted_outputs = [Tensor.of_config(tensor, batching) for tensor in config["output"]]
    if len(wanted_inputs) != len(inputs):
        raise ConfigError(
            f"config.pbtxt has {len(wanted_inputs)} inputs ({names(wanted_inputs)}), "
            f"and the model has {len(inputs)} ({names(inputs)})"
        )
    for wanted in wanted_inputs:
        check_tensor("input", wanted, inputs, batching, exact=False)
    for wanted in wanted_outputs:
        check_tensor("output", wanted, outputs, batching, exact=True)


def check_tensor(direction: str, wanted: Tensor, args: Sequence[NodeArg], batching: bool, *, exact: bool) -> None:
    found = next((arg for arg in args if arg.name == wanted.name), None)
    if found is None:
        raise ConfigError(f"{direction} {wanted.name!r} of config.pbtxt is not in the model, which has {names(args)}")
    given = Tensor.of_model(found)
    if given.data_type != wanted.data_type:
        raise ConfigError(
            f"{direction} {wanted.name!r}: config.pbtxt says {wanted.data_type}, and the model has {given.data_type}"
        )
    if batching and (not given.dims or given.dims[0] != -1):
        raise ConfigError(
            f"{direction} {wanted.name!r}: with max_batch_size > 0 the model's first dimension must be dynamic, "
            f"and its shape is {shape(given.dims)}; export it with a dynamic batch, or set max_batch_size to 0"
        )
    if not dims_match(wanted.dims, given.dims, exact):
        raise ConfigError(
            f"{direction} {wanted.name!r}: the model's shape is {shape(given.dims)}, and config.pbtxt says "
            f"{shape(wanted.dims)}" + (" with the batch" if batching else "") + advice(wanted, given, exact)
        )


def dims_match(wanted: tuple[int, ...], given: tuple[int, ...], exact: bool) -> bool:
    if exact:
        return wanted == given
    return len(wanted) == len(given) and all(
        -1 in pair or pair[0] == pair[1] for pair in zip(wanted, given, strict=True)
    )


def advice(wanted: Tensor, given: Tensor, exact: bool) -> str:
    if exact and dims_match(wanted.dims, given.dims, exact=False):
        return "; dims of outputs must be equal, and -1 equals only a dynamic dimension: export with static output dims"
    return ""


def shape(dims: Sequence[int]) -> str:
    return "[" + ",".join(map(str, dims)) + "]"


def names(tensors: Sequence[Tensor] | Sequence[NodeArg]) -> str:
    return ", ".join(tensor.name for tensor in tensors) or "none"
