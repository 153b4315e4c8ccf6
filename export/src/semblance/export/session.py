"""A graph's answers for many pictures, on ONNX Runtime's CPU provider."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from semblance.export.errors import GateFailed, summary

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and of how much."""


def open_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Raises GateFailed: ONNX Runtime can't load the graph."""
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base
        raise GateFailed(f"ONNX Runtime can't load the graph: {summary(error)}") from error


def answer(session: onnxruntime.InferenceSession, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The one output for one batch: FP32 [B,…].

    Raises:
        GateFailed: the graph fails, or answers for more or fewer pictures.
    """
    hint = "the network has to take any batch: `x.shape[0]`, not a number or `len(x)`"
    try:
        output: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: pixels})[0]
    except Exception as error:  # its errors have no common base
        raise GateFailed(f"the graph fails in a batch of {len(pixels)}: {summary(error)}; {hint}") from error
    if len(output) != len(pixels):
        raise GateFailed(f"the graph gives {len(output)} rows for a batch of {len(pixels)}; {hint}")
    return output


def answers(
    model: onnx.ModelProto, pixels: NDArray[np.uint8], max_batch_size: int, progress: Progress, what: str
) -> NDArray[np.float32]:
    """The one output for every picture: FP32 [N,…].

    Batches of 1, 2, … up to `max_batch_size` take turns, so that a graph that treats one of these sizes wrongly shows.

    Raises:
        GateFailed: the graph can't be loaded, or fails.
    """
    session = open_session(model)
    outputs = []
    done, size = 0, 1
    while done < len(pixels):
        progress(what, done, len(pixels))
        batch = pixels[done : done + size]
        outputs.append(answer(session, batch))
        done += len(batch)
        size = size % max_batch_size + 1
    return np.concatenate(outputs)
