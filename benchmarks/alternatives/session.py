"""A model file on the accelerator that Triton's configuration of it names, with as many threads as there are cores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

OPENVINO = "OpenVINOExecutionProvider"
CPU = "CPUExecutionProvider"


class Session:
    def __init__(self, path: str) -> None:
        """`path` is that of a version in a model repository: MODEL/1/model.onnx, beside MODEL/config.pbtxt."""
        config = (Path(path).parents[1] / "config.pbtxt").read_text()
        # As `semblance.serving.backend.session`: threads free to move, and asleep while they wait.
        openvino = {"device_type": "CPU", "load_config": '{"CPU": {"ENABLE_CPU_PINNING": "NO"}}'}
        provider, options = (OPENVINO, openvino) if 'name: "openvino"' in config else (CPU, {})
        threads = onnxruntime.SessionOptions()
        threads.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(path, threads, providers=[(provider, options)])
        self._session.disable_fallback()
        if self._session.get_providers()[0] != provider:
            raise RuntimeError(f"ONNX Runtime gave {self._session.get_providers()} instead of {provider}")
        self._input = self._session.get_inputs()[0]

    def warm_up(self, largest: int) -> None:
        """Runs the batch sizes up to 8 and their doubles once: the first run of a size is slow."""
        for size in (*range(1, 9), 16, 32):
            if size <= largest:
                self.run(np.zeros((size, *self._input.shape[1:]), np.uint8))

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        outputs: list[NDArray[np.float32]] = self._session.run(None, {self._input.name: batch})
        return outputs[0]
