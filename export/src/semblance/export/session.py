"""A graph's answers for many pictures, on ONNX Runtime's CPU provider."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and of how much."""


def open_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def answers(
    model: onnx.ModelProto, pixels: NDArray[np.uint8], max_batch_size: int, progress: Progress, what: str
) -> NDArray[np.float32]:
    """The one output for every picture: FP32 [N,…].

    Batches of 1, 2, … up to `max_batch_size` take turns, so that a graph that treats one of these sizes wrongly shows.
    """
    session = open_session(model)
    name = session.get_inputs()[0].name
    outputs = []
    done, size = 0, 1
    while done < len(pixels):
        progress(what, done, len(pixels))
        batch = pixels[done : done + size]
        outputs.append(session.run(None, {name: batch})[0])
        done += len(batch)
        size = size % max_batch_size + 1
    return np.concatenate(outputs)
