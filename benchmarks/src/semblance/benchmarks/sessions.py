"""The models of a repository without any server: sessions of ONNX Runtime in a process of their own.

They are opened by the code of Triton's backend, from the same `config.pbtxt`, in the same environment: same
accelerator, same thread counts, same cores.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import json_format, text_format
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2

from semblance.benchmarks.host import ROOT
from semblance.export.contract import MODEL_FILE
from semblance.serving.process import sibling_environment

# By name, because this environment has no ONNX Runtime to import it with.
WORKER = "semblance.benchmarks.session_worker"
# A size is chosen by the higher of its throughputs over so many seconds, twice.
TRIAL_SECONDS = 1.0
TRIALS = 2
# Opening a model compiles it; on a slow host one run of a large batch takes seconds.
PATIENCE_SECONDS = 300.0


class SessionError(Exception):
    """A bare session could not be opened or run; the message is the end of what its process said."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """Open sessions by the names of their models."""

    process: subprocess.Popen[str]
    errors: Path

    def open(self, name: str, repository: Path, rows: NDArray[np.uint8], folder: Path) -> None:
        """Opens version 1 of a model, to be fed with `rows`, uint8 [N, *dims]. `folder` is for a file of them."""
        file = folder / f"{name}.npy"
        np.save(file, rows)
        home = repository / name
        config = _config(home / "config.pbtxt")
        self._ask({"open": name, "model": str(home / "1" / MODEL_FILE), "config": config, "rows": str(file)})

    def run(self, name: str, batch: int, seconds: float) -> list[float]:
        """Wall seconds of each run of `batch` rows, for at least `seconds` together."""
        return self._ask({"run": name, "batch": batch, "seconds": seconds}, seconds)

    def rate(self, name: str, batch: int, seconds: float) -> float:
        """Rows a second."""
        runs = self.run(name, batch, seconds)
        return batch * len(runs) / sum(runs)

    def best_batch(self, name: str, largest: int) -> int:
        """The batch size of the highest throughput: of the powers of two, up to `largest`."""
        rates: dict[int, float] = defaultdict(float)
        for size in [2**power for power in range(largest.bit_length())] * TRIALS:
            # The first run at a size allocates for it.
            self.run(name, size, 0.0)
            rates[size] = max(rates[size], self.rate(name, size, TRIAL_SECONDS))
        return max(rates, key=lambda size: rates[size])

    def _ask(self, order: Mapping[str, Any], seconds: float = 0.0) -> list[float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps(order), file=self.process.stdin, flush=True)
            answered, _, _ = select.select([self.process.stdout], [], [], seconds + PATIENCE_SECONDS)
            line = self.process.stdout.readline() if answered else ""
        except BrokenPipeError:
            line = ""
        if not line:
            raise SessionError(f"a bare session failed: {self.errors.read_text()[-2000:]}")
        answer: list[float] = json.loads(line)
        return answer


@contextmanager
def started(folder: Path) -> Iterator[Sessions]:
    """Starts the process of the sessions, in the `triton` environment."""
    environment = sibling_environment("triton", "setup")
    sources = [ROOT / part / "src" for part in ("benchmarks", "serving")]
    folder.mkdir(parents=True, exist_ok=True)
    errors = folder / "sessions.log"
    with errors.open("w") as log:
        process = subprocess.Popen(
            [environment / "bin" / "python", "-m", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sources)), "PYTHONNOUSERSITE": "1"},
        )
    with process:
        try:
            yield Sessions(process, errors)
        finally:
            process.kill()


def _config(path: Path) -> dict[str, Any]:
    """The configuration as Triton hands it to a backend."""
    message = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    fields: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return fields
