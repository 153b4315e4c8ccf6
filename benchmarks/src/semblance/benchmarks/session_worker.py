"""Runs models bare, in the environment of Triton's backend, through the very session that the backend would open.

Started by `sessions`. One JSON object a line: `{"open": name, "model": path, "config": {…}, "rows": file.npy}` opens a
session with its input rows, `{"run": name, "batch": n, "seconds": s}` runs batches for that long and answers with the
wall seconds of each run.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from semblance.serving.backend.session import open_session, run_options
from semblance.serving.backend.settings import Settings


class Bare:
    """A session and the rows to feed it with, uint8 [N, *dims]."""

    def __init__(self, model: Path, config: dict[str, object], rows: NDArray[np.uint8]) -> None:
        settings = Settings.of(config, "CPU")
        self._session: onnxruntime.InferenceSession = open_session(model, settings)
        self._options = run_options(settings)
        self._rows = rows
        self._start = 0

    def run(self, batch: int, seconds: float) -> list[float]:
        """Wall seconds of each run; another run begins while `seconds` are not over."""
        [name] = [argument.name for argument in self._session.get_inputs()]
        laps: list[float] = []
        while sum(laps) < seconds or not laps:
            rows = self._rows[np.arange(self._start, self._start + batch) % len(self._rows)]
            self._start += batch
            begin = time.perf_counter()
            self._session.run(None, {name: rows}, self._options)
            laps.append(time.perf_counter() - begin)
        return laps


def main() -> None:
    sessions: dict[str, Bare] = {}
    for line in sys.stdin:
        order = json.loads(line)
        if "open" in order:
            sessions[order["open"]] = Bare(Path(order["model"]), order["config"], np.load(order["rows"]))
            answer: list[float] = []
        else:
            answer = sessions[order["run"]].run(order["batch"], order["seconds"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
