"""Real inferences that prove the outputs of a loaded model whole.

A Python-based backend in an environment with numpy 2 answers with empty buffers and no error; nothing short of
looking at an output finds out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import triton_to_np_dtype

INFER_SECONDS = 120.0
DESCRIBE_SECONDS = 30.0
# The outputs that the model contract (docs of `semblance.export`) normalises to length 1, and how closely.
UNIT_OUTPUTS = ("embedding",)
UNIT_TOLERANCE = 1e-3


class BrokenOutput(Exception):
    """An output of a model is not what the model's metadata promise."""


def prove(client: InferenceServerClient, name: str) -> None:
    """Checks every ready version of a model at batch size 1 and at its maximum.

    Raises:
        BrokenOutput: an output has a wrong shape, too few bytes, a number that is not finite, or is an embedding
            whose length is not 1.
        InferenceServerException: Triton refuses, or does not answer in time.
    """
    metadata = client.get_model_metadata(name, as_json=True, client_timeout=DESCRIBE_SECONDS)
    description = client.get_model_config(name, as_json=True, client_timeout=DESCRIBE_SECONDS)
    largest = description["config"].get("max_batch_size", 0)
    for version in metadata["versions"]:
        for batch in sorted({1, largest}) if largest else [0]:
            prove_batch(client, metadata, version, batch)


def prove_batch(client: InferenceServerClient, metadata: dict[str, Any], version: str, batch: int) -> None:
    """One inference of one version; batch 0 is that of a model that does not batch."""
    inputs = [noise(tensor, batch) for tensor in metadata["inputs"]]
    answer = client.infer(metadata["name"], inputs, model_version=version, client_timeout=INFER_SECONDS)
    for tensor in metadata["outputs"]:
        where = f"output {tensor['name']!r} of {metadata['name']} version {version} at batch size {batch}"
        values = answer.as_numpy(tensor["name"])
        check(where, values, concrete(tensor["shape"], batch), triton_to_np_dtype(tensor["datatype"]))
        if tensor["name"] in UNIT_OUTPUTS:
            check_unit(where, values)


def check(where: str, values: np.ndarray[Any, Any] | None, shape: Sequence[int], dtype: Any) -> None:
    if values is None or values.size == 0 or values.dtype != dtype or values.shape != tuple(shape):
        found = "nothing" if values is None else f"{values.dtype} {list(values.shape)}"
        raise BrokenOutput(f"{where} is {found}, and {np.dtype(dtype)} {list(shape)} was expected")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise BrokenOutput(f"{where} has values that are not finite")


def check_unit(where: str, embeddings: np.ndarray[Any, Any]) -> None:
    """`embeddings` is float32 [B,dim]."""
    lengths = np.linalg.norm(embeddings, axis=-1)
    if np.abs(lengths - 1).max() > UNIT_TOLERANCE:
        raise BrokenOutput(f"{where} has lengths {lengths.min():.4f} to {lengths.max():.4f}, and 1 was expected")


def noise(tensor: dict[str, Any], batch: int) -> InferInput:
    shape = concrete(tensor["shape"], batch)
    dtype = np.dtype(triton_to_np_dtype(tensor["datatype"]))
    values = np.random.default_rng(0).integers(0, 2 if dtype.kind == "b" else 100, shape).astype(dtype)
    wanted = InferInput(tensor["name"], shape, tensor["datatype"])
    wanted.set_data_from_numpy(values)
    return wanted


def concrete(shape: Sequence[str], batch: int) -> list[int]:
    """A shape of the metadata, whose first dimension is -1 if the model batches."""
    dims = [int(dim) for dim in shape]
    return [batch, *dims[1:]] if batch else dims
